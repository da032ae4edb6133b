"""A run folder is one process's at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from lacvit.errors import InputError
from lacvit.lock import locked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks on Windows")


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    program = (
        "import sys\nfrom pathlib import Path\nfrom lacvit.lock import locked\n"
        f"with locked(Path({str(folder)!r})):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="Another process is at work in"), locked(folder):
            pass
        other.kill()
    with locked(folder):
        assert folder.is_dir()


def test_it_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(tmp_path):
            _ = 1 / 0


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "run"
    with pytest.raises(InputError, match=r"cannot be written: .* with --output"), locked(place):
        pass
