"""The README against the disk: its length, its tree, its commands, its links."""

import re
from pathlib import Path

from lacvit.arms import ARMS
from lacvit.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SKIPPED = {"__pycache__", "__init__.py", "py.typed"}


def tree() -> dict[str, str]:
    """Path -> comment of every line of the README's tree."""
    block = "src/lacvit/" + README.partition("```\nsrc/lacvit/")[2].partition("```")[0]
    entries, parents = {}, {0: ""}
    for line in filter(str.strip, block.splitlines()):
        names, _, comment = line.partition(" #")
        indent = len(line) - len(line.lstrip())
        for name in names.split():
            entries[parents[indent] + name] = comment.strip()
        if names.strip().endswith("/"):
            parents[indent + 2] = parents[indent] + names.strip()
    return entries


def test_fits_on_a_few_screens() -> None:
    assert len(README.splitlines()) < 200


def test_everything_in_the_tree_is_on_disk() -> None:
    missing = [path for path in tree() if not (ROOT / path).exists()]
    assert missing == []


def test_everything_in_the_package_is_in_the_tree() -> None:
    package = ROOT / "src" / "lacvit"
    rooms = [path for path in package.iterdir() if path.name not in SKIPPED]
    modules = [path for room in rooms if room.is_dir() for path in room.glob("*.py")]
    wanted = [path for path in rooms + modules if path.name not in SKIPPED]
    known = {ROOT / path for path in tree()}
    public = [path for path in wanted if not path.name.startswith("_") or path.is_dir()]
    assert sorted(str(p.relative_to(ROOT)) for p in public if p not in known) == []


def test_every_method_and_command_is_named() -> None:
    for arm in ARMS:
        assert f"`{arm}`" in README, arm
    used = set(re.findall(r"lacvit (\w+) ", README)) | {"demo", "report"}
    assert used >= set(COMMANDS)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", README):
        assert (ROOT / target).exists(), target
