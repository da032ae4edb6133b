"""``lacvit settings``: the list is a recipe."""

import tomllib

import pytest

from lacvit.cli.main import main
from lacvit.config import RunSettings, all_keys, flatten, make_settings


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["settings", *arguments])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_every_setting_is_listed_and_nothing_is_set(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys)
    assert not flatten(tomllib.loads(text))
    for key in all_keys():
        assert f"# {key.rpartition('.')[2]} = " in text


def test_without_its_marks_it_is_the_default_run(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys).splitlines()
    given = [line.removeprefix("# ") for line in lines if " = " in line and " = ..." not in line]
    sections = [line for line in lines if line.startswith("[")]
    assert sections[:2] == ["[data]", "[backbone]"]
    text = "\n".join(
        line.removeprefix("# ") if line.removeprefix("# ") in given else line for line in lines
    )
    taken = flatten(tomllib.loads(text))
    assert taken == {
        key: value
        for key, value in flatten(RunSettings().model_dump(mode="json")).items()
        if value is not None
    }
    one = {key: taken[key] for key in ("head.fit_on", "views.crop_scale", "seed")}
    assert make_settings(recipe=one).views == RunSettings().views


def test_a_pattern_picks(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "joint.l*")
    assert [line.split()[1] for line in text.splitlines() if " = " in line] == [
        "lr", "layer_decay", "loss", "label_smoothing",
    ]  # fmt: skip


def test_a_pattern_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["settings", "nothing*"])
    assert end.value.code == 2
    assert "No setting's name has 'nothing*'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "names"), [("temperature", 2), ("lr", 4), ("contrastive.l", 4), ("head.s", 2)]
)
def test_a_part_of_a_name_picks(part: str, names: int, capsys: pytest.CaptureFixture[str]) -> None:
    found = [line for line in printed(capsys, part).splitlines() if " = " in line]
    assert len(found) == names
