"""How the page says numbers, names and times. Typography: narrow no-break space before a unit."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from lacvit.metrics.verdict import TRAINED_BY

NARROW = "\u202f"
MINUS = "\u2212"
MISSING = "\u2013"

METHODS = {
    "lacvit": "LaCViT",
    "lacvit-finetune": "LaCViT with fine-tuning",
    "knn": "k nearest neighbours",
    "linear-probe": "Linear probe",
    "cross-entropy": "Cross-entropy fine-tuning",
    "cross-entropy-refit": "Cross-entropy fine-tuning, refitted head",
    "cross-entropy-paper": "Cross-entropy fine-tuning as in the paper",
    "joint": "Joint training",
    "joint-refit": "Joint training, refitted head",
    "simclr": "SimCLR",
    "npair": "N-pair",
}
STAGES = {
    "contrastive": "Label-aware contrastive",
    "joint": "Joint",
    "cross_entropy": "Cross-entropy",
    "head": "Task head",
}
FEATURES = {
    "untouched": "Pretrained, untouched",
    **{stage: f"After {what}" for stage, what in TRAINED_BY.items()},
}


def percent(value: float, digits: int = 1) -> str:
    """0.614 -> 61.4 %"""
    return f"{100 * value:.{digits}f}{NARROW}%" if math.isfinite(value) else MISSING


def points(share: float) -> str:
    """0.013 -> +1.3, in points of a per cent"""
    text = f"{100 * share:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", MINUS)


def whole(value: int | float) -> str:
    """10000 -> 10,000"""
    return f"{value:,.0f}"


def figures(value: float) -> str:
    """Three significant digits, no exponent where it can be helped."""
    if not math.isfinite(value):
        return MISSING
    return f"{value:.3g}" if abs(value) < 1000 else whole(value)


def decimals(value: float) -> str:
    """Three decimals, or three digits of what is large."""
    if not math.isfinite(value):
        return MISSING
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    text = "0.000" if float(text.replace(",", "")) == 0 else text
    return text.replace("-", MINUS)


def chance(p: float) -> str:
    """A p-value: 0.0421 -> 0.042, and <0.001 where three decimals would be none."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def standing_of(pair: Mapping[str, Any]) -> str:
    """The verdict of two methods among all pairs of the report; in an older file, of the pair."""
    return str(pair.get("standing", pair["verdict"]))


def duration(seconds: float) -> str:
    """75 -> 1 min 15 s"""
    if seconds < 60:
        return f"{seconds:.3g}{NARROW}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NARROW}min {rest}{NARROW}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NARROW}h {minutes}{NARROW}min"


def clean(text: str) -> str:
    """`text` in one line, with a mark for what nothing can show: controls and half surrogates."""
    text = " ".join(text.split())
    return "".join(
        "\ufffd" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in text
    )


def shortened(text: str, limit: int) -> str:
    """At most `limit` letters, an ellipsis in place of the rest."""
    text = clean(text)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def display_width(text: str) -> int:
    """How many letters wide `text` is; Chinese, Japanese and Korean letters count twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
