"""One palette for the page and its figures, and the way from a matplotlib figure to SVG or PNG.

Figures are drawn in the light colours. PNG files keep them; in the SVG text each colour of the
table becomes a CSS variable, so that the same drawing follows the reader's light or dark scheme.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib import font_manager
from matplotlib.figure import Figure

from lacvit.run_folder import write_bytes

# name -> (light, dark). Text colours have a contrast of at least 4.5 on `paper` in either scheme.
INKS: dict[str, tuple[str, str]] = {
    "paper": ("#fdfdfb", "#151618"),
    "raised": ("#f5f5f1", "#1e2023"),
    "ink": ("#1c1d20", "#e9e7e2"),
    "muted": ("#5f6268", "#a3a29d"),
    "rule": ("#dddcd6", "#34363a"),
    "other": ("#cfcec8", "#3c3f44"),
    "right": ("#2166ac", "#7ab8f0"),
    "wrong": ("#b8441a", "#f2955f"),
}

# Ten colours for classes, moved from those of Petroff 2021 ("Accessible color sequences for data
# visualization") until, for each scheme, all pairs are at least 0.1 apart in OKLab as seen with
# full, red-blind, green-blind and blue-blind vision; a test measures it, and that in CIELAB all
# pairs, and each class and `other`, are at least 10 apart.
CLASS_COLOURS: tuple[tuple[str, str], ...] = (
    ("#568bff", "#7b8efe"),
    ("#efa716", "#ffd126"),
    ("#9b0f09", "#cf5d07"),
    ("#8d8bad", "#a791a3"),
    ("#8c10d6", "#8a01fc"),
    ("#a06257", "#a14556"),
    ("#ca7c16", "#dda250"),
    ("#a3b49d", "#b8e3be"),
    ("#4f5185", "#416ea8"),
    ("#63bef7", "#78c6fe"),
)
# Shape says the class a second time; neighbours in the colour sequence differ in shape.
CLASS_MARKERS = ("o", "^", "s")
# The lines of a comparison's methods: after ten methods the colours come again with other dashes.
METHOD_DASHES = ("-", "--", ":")
SVG_DASHES = {"-": "none", "--": "6 4", ":": "2 2"}

# Fonts that hold what DejaVu lacks; whichever the machine has is used for the PNG files.
# In the SVG, text stays text and the reader's browser chooses.
FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Arial Unicode MS",
)

PNG_DPI = 160


def light(name: str) -> str:
    """The colour to draw with; `svg` makes it follow the scheme."""
    return INKS[name][0]


def class_colour(position: int) -> str:
    return CLASS_COLOURS[position % len(CLASS_COLOURS)][0]


def class_marker(position: int) -> str:
    return CLASS_MARKERS[position % len(CLASS_MARKERS)]


def method_dash(position: int) -> str:
    return METHOD_DASHES[position % len(METHOD_DASHES)]


def method_look(position: int) -> dict[str, str | int]:
    """How a method is drawn, for the page's key: no two of 30 methods look alike."""
    return {
        "colour": position % len(CLASS_COLOURS),
        "marker": class_marker(position),
        "dash": SVG_DASHES[method_dash(position)],
    }


def css_variables(scheme: int) -> dict[str, str]:
    """Variable name -> colour, for `scheme` 0 (light) or 1 (dark)."""
    named = {name: pair[scheme] for name, pair in INKS.items()}
    named |= {f"class-{i}": pair[scheme] for i, pair in enumerate(CLASS_COLOURS)}
    return named


@contextmanager
def drawing(salt: str = "lacvit") -> Iterator[None]:
    """Settings under which every figure is made and saved; nothing leaks to the caller."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed)]
    style: dict[Any, object] = {
        "font.family": families,
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.edgecolor": light("rule"),
        "axes.labelcolor": light("muted"),
        "axes.titlecolor": light("ink"),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": False,
        "text.color": light("ink"),
        "text.parse_math": False,  # a class may be called "$5"
        "xtick.color": light("rule"),
        "ytick.color": light("rule"),
        "xtick.labelcolor": light("muted"),
        "ytick.labelcolor": light("muted"),
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "axes.grid": False,
        "figure.facecolor": light("paper"),
        "axes.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "lines.markersize": 3.2,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # The PNG shows a box for a letter that no installed font has; the page shows the letter.
        warnings.filterwarnings("ignore", r"Glyph .* missing from (current )?font", UserWarning)
        yield


def svg(figure: Figure, name: str, description: str) -> Markup:
    """`figure` as an inline SVG element whose colours follow the page's scheme.

    Args:
        name: letters and hyphens, another one for each figure of a page: keeps ids apart.
        description: what a screen reader says.
    """
    buffer = io.StringIO()
    with drawing(salt=name):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    body = text[text.index("<svg") :]
    view_box = re.search(r'viewBox="([^"]+)"', body)
    assert view_box is not None  # matplotlib always writes one
    inner = body[body.index(">") + 1 : body.rindex("</svg>")]
    return Markup(
        f'<svg viewBox="{view_box[1]}" role="img" aria-label="{escape(description)}">'
        f"{_slim(inner)}</svg>"
    )


def png(figure: Figure, path: Path) -> None:
    """Writes `figure` in the light colours; appears under its name only when complete."""
    buffer = io.BytesIO()
    with drawing():
        figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


_POINT_INKS = "|".join([INKS["other"][0], *(pair[0] for pair in CLASS_COLOURS)])
_VARIABLES = {colour: f"var(--{name})" for name, colour in css_variables(0).items()}

# What is changed within a tag, in this order; text between tags may be a class name and is left.
_IN_TAGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile("xlink:href"), "href"),
    # The page's style sheet colours points; a style for each of thousands would not pay.
    (re.compile(rf'(<use [^>]*?) style="fill: (?:{_POINT_INKS})[^"]*"'), r"\1"),
    (re.compile(r"font-family: [^;\"]+;? ?"), ""),
    (re.compile(r"font: (\d+|bold) ([\d.]+px) [^;\"]+"), r"font-weight: \1; font-size: \2"),
    (re.compile(r"font: ([\d.]+px) [^;\"]+"), r"font-size: \1"),
    (re.compile(r"(\d+\.\d{2})\d+"), r"\1"),
    (re.compile(r' id="(points-\w+)"'), r' class="\1"'),
)


def _slim(inner: str) -> str:
    """Colours to variables, fonts to the page's, ids that nothing refers to away."""
    inner = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", inner, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([\w-]+)', inner))
    inner = re.sub(r"<[^>]+>", lambda tag: _slim_tag(tag[0], used), inner)
    return re.sub(r"\n\s*", "\n", inner).strip()


def _slim_tag(tag: str, used: set[str]) -> str:
    for pattern, replacement in _IN_TAGS:
        tag = pattern.sub(replacement, tag)
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda found: _VARIABLES.get(found[0], found[0]), tag)
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", tag)
