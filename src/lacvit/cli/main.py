"""``lacvit``: the commands, and what their failures mean to the shell."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Annotated

import typer

from lacvit import __version__
from lacvit.cli.signals import stop_on_ctrl_c
from lacvit.errors import LacvitError, PeerStopped, RunStopped

# Name -> what the list of commands says. Each is the function of its name in the module of its
# name, which is imported only when it is the one asked for: `lacvit --help` answers at once.
COMMANDS = {
    "demo": "Try both stages and two baselines on digits.",
    "train": "Train a classifier on labelled images.",
    "predict": "Label images with a trained model.",
    "embed": "Write the embeddings of images.",
    "evaluate": "Measure a trained model on labelled images.",
    "compare": "Find out which method is best on your own images.",
    "check": "Say what lacvit understands of labelled images.",
    "report": "Make the report of a run again.",
    "settings": "List every setting, with its default and what it does.",
    "backbones": "List the backbones that can be named, or inspect a checkpoint.",
}
ALONE = {"demo", "compare"}
HELP = (
    "Train a pretrained vision transformer on a folder of labelled images by label-aware "
    "contrast (LaCViT): train makes one model and its report; compare runs methods and their "
    "baselines side by side, and says which is better.\n\n"
    "Start with: lacvit demo. Then, on your own images (one folder a class): "
    "lacvit train photos/"
)


def build_app(wanted: str | None) -> typer.Typer:
    """The commands, of which only ``wanted`` can be run; the others are there to be listed."""
    app = typer.Typer(
        name="lacvit",
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,  # importing rich would take longer than all the rest of --help
    )
    app.callback()(_options)
    for name, summary in COMMANDS.items():
        if name == wanted:
            module = importlib.import_module(f"lacvit.cli.{name}")
            app.command(name)(getattr(module, name))
        else:
            app.command(name, help=summary)(_listed)
    return app


def _listed() -> None:
    raise AssertionError("a command that was not asked for cannot run")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"lacvit {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 2 the user's input, 1 our fault, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    wanted = next((word for word in argv if not word.startswith("-")), None)
    if wanted in ALONE and os.environ.get("WORLD_SIZE", "1") != "1":
        _leave(
            f"lacvit: lacvit {wanted} makes many runs and is one process; of the commands only "
            f"train runs in several. Give it without torchrun or accelerate launch.",
            2,
        )
    raised: list[RunStopped] = []
    try:
        with stop_on_ctrl_c() as raised:
            build_app(wanted)(args=argv, prog_name="lacvit")
    except RunStopped as stopped:
        _leave(f"lacvit: {stopped}", 130)
    except PeerStopped:  # that process has said why
        sys.exit(1)
    except LacvitError as error:
        _leave(f"lacvit: {error}", 2)
    except KeyboardInterrupt:
        _leave("lacvit: interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if raised:  # it was lost on its way, and this came of it
            _leave(f"lacvit: {raised[0]}", 130)
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for this
            from lacvit.devices import memory_advice

            _leave(f"lacvit: {memory_advice(error)}", 2)
        traceback.print_exc()
        _leave("lacvit: this is a fault of lacvit's, not yours. What was saved is kept.", 1)


def _leave(text: str, code: int) -> None:
    rank = os.environ.get("RANK", "0")  # as a launcher of several processes sets it
    if rank == "0":
        print(text, file=sys.stderr)
    elif code != 130:  # all are stopped together, and the first says so
        print(text.replace("lacvit:", f"lacvit (process {rank}):", 1), file=sys.stderr)
    sys.exit(code)
