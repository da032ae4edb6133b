"""From a page's content to its HTML: one base template, one style, one way to say numbers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lacvit.report import plots, theme, words


def render(
    template: str,
    content: Mapping[str, object],
    *,
    scripts: Sequence[str] = ("sort.js",),
    library: str = "",
) -> str:
    """``template`` (a file of this folder that extends ``base.html.j2``), filled with ``content``.

    A name that the template asks for and the content lacks is an error, not an empty place.

    Args:
        scripts: files of this folder; the page runs them in order, and no other script.
        library: the text of a script that they run when they need it: it stands in the page as
            text, so that opening the page does not wait for it.
    """
    environment = Environment(
        loader=PackageLoader("lacvit.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "points": words.points,
        "whole": words.whole,
        "number": words.figures,
        "decimals": words.decimals,
        "chance": words.chance,
        "duration": words.duration,
        "clean": words.clean,
        "shortened": words.shortened,
    }
    texts = [environment.get_template(name).render() for name in scripts]
    library = library.replace("\r\n", "\n")  # as a browser reads it, or the hash does not fit
    allowed = [*texts, library] if library else texts
    return environment.get_template(template).render(
        **content,
        light=theme.css_variables(0),
        dark=theme.css_variables(1),
        markers=[theme.class_marker(number) for number in range(plots.COLOURED_CLASSES)],
        library=Markup(library),
        scripts=[Markup(text) for text in texts],
        script_hashes=[_hash(text) for text in allowed],
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
