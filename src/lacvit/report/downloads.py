"""The figures behind a static plot as a link that saves them."""

from __future__ import annotations

import base64
import csv
import io
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
