"""Start-up is cheap: what is imported when, seen from a fresh interpreter."""

import subprocess
import sys

import pytest

import lacvit

HEAVY = ("torch", "torchvision", "timm", "transformers", "sklearn", "matplotlib", "scipy", "numpy")


def imported_by(program: str) -> set[str]:
    """The top-level names in sys.modules after a program."""
    shown = f"import sys\n{program}\nprint(' '.join(n for n in sys.modules if '.' not in n))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_lacvit_and_asking_for_help_load_nothing_heavy() -> None:
    names = imported_by("import lacvit, lacvit.errors, lacvit.config\nlacvit.__version__")
    assert not names & set(HEAVY)


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"]])
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lacvit", *command],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Usage" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "lacvit.cli.main" in loaded
    assert not loaded & set(HEAVY)


def test_rooms_without_torch_load_none() -> None:
    """In one process: each import pays for scipy and matplotlib again."""
    rooms = (
        "metrics.classification",
        "metrics.geometry",
        "metrics.neighbours",
        "report.page",
        "data.readers",
        "data.splits",
        "data.faults",
        "run_folder",
    )
    program = f"import {', '.join(f'lacvit.{room}' for room in rooms)}"
    assert not imported_by(program) & {"torch", "torchvision", "timm"}


def test_every_public_name_is_there() -> None:
    assert sorted(lacvit.__all__) == lacvit.__all__
    for name in lacvit.__all__:
        assert getattr(lacvit, name) is not None
    assert dir(lacvit) == lacvit.__all__
    with pytest.raises(AttributeError, match="module 'lacvit' has no attribute 'trian'"):
        lacvit.trian  # noqa: B018
