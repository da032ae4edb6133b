"""From a page's content to its HTML: one base template, one style, one way to say numbers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lacvit.report import plots, theme, words


def render(template: str, content: Mapping[str, object]) -> str:
    """``template`` (a file of this folder that extends ``base.html.j2``), filled with ``content``.

    A name that the template asks for and the content lacks is an error, not an empty place.
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
        "duration": words.duration,
        "clean": words.clean,
        "shortened": words.shortened,
    }
    script = environment.get_template("sort.js").render()
    return environment.get_template(template).render(
        **content,
        light=theme.css_variables(0),
        dark=theme.css_variables(1),
        markers=[theme.class_marker(number) for number in range(plots.COLOURED_CLASSES)],
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
