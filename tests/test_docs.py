"""The documentation: its Python prints what it says, its tables are the committed figures."""

import contextlib
import io
import re
import sys
from pathlib import Path

import pytest

from lacvit import regime
from lacvit.comparison.latex import as_latex
from lacvit.comparison.tables import as_csv, as_markdown
from lacvit.run_folder import read_json

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<printed>.*?)```)?", re.DOTALL)
PAGES = ["loss.md", "loss-relatives.md"]


@pytest.mark.parametrize("page", PAGES)
def test_examples_print_what_the_page_says(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    names: dict[str, object] = {}
    examples = list(EXAMPLE.finditer(text))
    assert examples
    for example in examples:
        printed = io.StringIO()
        line = text[: example.start()].count("\n") + 1
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + example["code"], page, "exec"), names)
        assert printed.getvalue() == (example["printed"] or ""), f"{page}, line {line}"


def test_tables_are_those_of_the_committed_figures(monkeypatch):
    root = DOCS.parent
    monkeypatch.syspath_prepend(str(root / "experiments"))
    sys.modules.pop("tables", None)
    import tables

    for document, made in tables.all_tables().items():
        text = (root / document).read_text(encoding="utf-8")
        assert [table.splitlines()[0] for table in made if table not in text] == [], document


def test_the_figures_beside_the_default_are_the_committed_ones(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS.parent / "experiments"))
    sys.modules.pop("tables", None)
    import tables

    grid = tables.Grid()
    arms = ("cross-entropy", tables.CONTRAST, tables.TUNED)
    cells = [(cell, backbone) for backbone in tables.BACKBONES for cell in tables.CELLS]
    told = re.findall(r"^ {4}\S.*?" + 3 * r" {2,}(\d+\.\d)" + "$", regime.__doc__, re.MULTILINE)
    assert told == [tuple(f"{grid.mean(cell, arm):.1f}" for arm in arms) for cell in cells]
    for (_, backbone), values in zip(cells, told, strict=True):
        chosen = regime.ARMS["labels" if backbone == "pico" else "none"]
        ours = values[2] if chosen == "cross-entropy-refit" else values[1]
        assert float(ours) > float(values[0]), "in every cell it is ahead of tuned cross-entropy"


def test_the_shown_comparison_is_what_the_command_writes():
    shown = DOCS / "report"
    figures = read_json(shown / "comparison.json")
    for ending, made in (("csv", as_csv), ("md", as_markdown), ("tex", as_latex)):
        kept = (shown / f"comparison.{ending}").read_text(encoding="utf-8")
        assert kept == made(figures), ending
