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
    "other": ("#cfcec8", "#4a4d52"),
    "right": ("#2166ac", "#7ab8f0"),
    "wrong": ("#b8441a", "#f2955f"),
}

# Ten colours for classes, moved from those of Petroff 2021 ("Accessible color sequences for data
# visualization") until, for each scheme, all pairs are at least 0.1 apart in OKLab as seen with
# full, red-blind, green-blind and blue-blind vision; a test measures it.
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

POINTS_PER_INCH = 72
PNG_DPI = 160


def light(name: str) -> str:
    """The colour to draw with; `svg` makes it follow the scheme."""
    return INKS[name][0]


def class_colour(position: int) -> str:
    return CLASS_COLOURS[position % len(CLASS_COLOURS)][0]


def class_marker(position: int) -> str:
    return CLASS_MARKERS[position % len(CLASS_MARKERS)]


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


def new_figure(width: float, height: float, *, tight: bool = False) -> Figure:
    """An empty figure of so many inches; needs no display and no pyplot.

    Args:
        tight: axes fill the figure, for those without ticks and names; else room is made for
            these, which takes a few tenths of a second.
    """
    if not tight:
        return Figure(figsize=(width, height), layout="constrained")
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.04, hspace=0.04)
    return figure


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


def _slim(inner: str) -> str:
    """Colours to variables, fonts to the page's, ids that nothing refers to away."""
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.DOTALL)
    inner = re.sub(r"<!--.*?-->", "", inner, flags=re.DOTALL)
    inner = inner.replace("xlink:href", "href")
    inner = re.sub(r"font: (?:[\w.]+ )*?([\d.]+)px [^;\"]+", r"font-size: \1px", inner)
    used = set(re.findall(r'(?:href="#|url\(#)([\w-]+)', inner))
    inner = re.sub(r' id="([\w.-]+)"', lambda match: _identity(match[1], used), inner)
    # The page's style sheet colours these; a style for each of thousands of points would not pay.
    inner = re.sub(rf'(<use [^>]*) style="fill: (?:{_POINT_INKS})[^"]*"', r"\1", inner)
    inner = re.sub(r"(\d+\.\d{2})\d+", r"\1", inner)
    names = {colour: name for name, colour in css_variables(0).items()}
    inner = re.sub(r"#[0-9a-f]{6}\b", lambda match: _variable(match[0], names), inner)
    return re.sub(r"\n\s*", "\n", inner).strip()


_POINT_INKS = "|".join([INKS["other"][0], *(pair[0] for pair in CLASS_COLOURS)])


def _identity(name: str, used: set[str]) -> str:
    if name.startswith("points-"):
        return f' class="{name}"'
    return f' id="{name}"' if name in used else ""


def _variable(colour: str, names: dict[str, str]) -> str:
    return f"var(--{names[colour]})" if colour in names else colour
