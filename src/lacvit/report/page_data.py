"""A page's data: as a link that saves them, as JSON that its scripts read."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape


def csv_link(name: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """A link that saves ``rows`` as `name`.csv; nothing is fetched, the link holds them."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    text = base64.b64encode(buffer.getvalue().encode("utf-8", errors="replace")).decode("ascii")
    return Markup(
        f'<a class="csv" download="{escape(name)}.csv" href="data:text/csv;base64,{text}">CSV'
        f'<span class="unseen"> of {escape(name)}</span></a>'
    )


def compact_json(value: object) -> Markup:
    """JSON for a script element: in the order given, and without a sign that could end it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))
