"""The Python of the documentation runs, and prints what the page says that it prints."""

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<printed>.*?)```)?", re.DOTALL)
PAGES = ["loss.md"]


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
