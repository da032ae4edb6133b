"""``lacvit``: the commands, and what their failures mean to the shell."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from lacvit import __version__
from lacvit.cli import demo, evaluate, predict, report, train
from lacvit.errors import LacvitError, RunStopped

app = typer.Typer(
    name="lacvit",
    help=(
        "Train a pretrained vision transformer on a folder of labelled images by label-aware "
        "contrast (LaCViT), beside honest baselines, and get one report and one model.\n\n"
        "Start with: lacvit demo. Then, on your own images (one folder a class): "
        "lacvit train photos/"
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"lacvit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 2 the user's input, 1 our fault, 130 interrupted."""
    try:
        app(args=argv, prog_name="lacvit")
    except RunStopped as stopped:
        _leave(f"lacvit: {stopped}", 130)
    except LacvitError as error:
        _leave(f"lacvit: {error}", 2)
    except KeyboardInterrupt:
        _leave("lacvit: interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        _leave("lacvit: this is a fault of lacvit's, not yours. What was saved is kept.", 1)


def _leave(text: str, code: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)
