"""What is said where an optional package is not installed: the command that brings it."""

import sys
import tomllib
from pathlib import Path

import pytest

from digit_folders import write_digit_folder
from lacvit.cli.main import main

EXTRAS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


@pytest.mark.parametrize(
    ("package", "extra", "asked", "said"),
    [
        ("transformers", "hf", ["--backbone", "hf:me/mine"],
         "Models of Hugging Face (hf:) need transformers, which is not installed."),
        ("peft", "lora", ["--trainable", "lora", "--method", "lacvit"],
         "--trainable lora needs peft, which is not installed."),
    ],
)  # fmt: skip
def test_a_missing_package_is_named_as_the_extra_needs_it(
    package: str,
    extra: str,
    asked: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as Python marks what cannot be imported
    monkeypatch.delitem(sys.modules, "lacvit.backbones.hf_models", raising=False)
    data = write_digit_folder(tmp_path / "digits")
    with pytest.raises(SystemExit) as left:
        main(["train", str(data), *asked, "--epochs", "1", "--output", str(tmp_path / "run")])
    assert left.value.code == 2
    printed = " ".join(capsys.readouterr().err.split())
    (needed,) = EXTRAS[extra]
    assert f"{said} Install it with: pip install '{needed}'" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "run").exists()
    assert needed.startswith(package)
