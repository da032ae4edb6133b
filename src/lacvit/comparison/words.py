"""What a comparison found, in sentences that claim no more than was measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lacvit.metrics.significance import PairedDifference

SURE = 0.05  # Holm's p above it: the claim is one of many, and chance would make one as large
SAME = 1e-9  # of accuracies: means of as many right answers may differ in their last digits

# The difference of a method from another, and Holm's p of it over the report.
Found = tuple[PairedDifference, float]

# By `standing`, losses first: about one method or several, and in a table.
RELATIONS: Mapping[str, str] = {
    "worse": "is worse than {}",
    "behind": "is behind {}, but not surely so among all pairs of the report",
    "unsettled": "cannot be told from {}",
    "equal": "equals {} within the margin",
    "ahead": "is ahead of {}, but not surely so among all pairs of the report",
    "better": "is better than {}",
}
VERDICTS: Mapping[str, str] = {
    "worse": "worse",
    "behind": "worse, but not among all pairs",
    "unsettled": "not settled",
    "equal": "equal within the margin",
    "ahead": "better, but not among all pairs",
    "better": "better",
}


def standing(verdict: str, p_holm: float) -> str:
    """The verdict; ``ahead`` or ``behind`` where it does not survive Holm's correction."""
    if p_holm <= SURE:
        return verdict
    return {"better": "ahead", "worse": "behind"}.get(verdict, verdict)


def points(share: float) -> str:
    """Such as +1.2, in points of a per cent; 0.0 has no sign."""
    text = f"{100 * share:+.1f}"
    return "0.0" if float(text) == 0 else text


def pair_words(
    ours: str, other: str, found: PairedDifference, p_holm: float, folds: int | None = None
) -> str:
    """The difference in a sentence."""
    low, high = (points(end) for end in found.interval)
    over = (
        f"{ours} is {points(found.difference)} points over {other} (95 % interval {low} to {high})"
    )
    images = f"{found.images:,} test images"
    if folds is not None:
        images = f"{found.images:,} images, each tested out of {folds} folds"
    once = found.seeds == 1 and folds is None
    verdict = _verdict_of_two(found, p_holm) if once else _verdict(other, found, p_holm)
    said = f"{over}, {_won(found, folds)}, on {images}: {verdict}."
    if found.detectable >= 1:
        return f"{said} So small a design finds no difference, however large."
    return f"{said} The smallest difference this design finds: {100 * found.detectable:.1f} points."


def _won(found: PairedDifference, folds: int | None) -> str:
    unit = "seed" if folds is None else "repeat"
    won = round(found.seeds_won - found.seeds_tied / 2)
    said = f"ahead in {won} of {found.seeds} {unit}{'' if found.seeds == 1 else 's'}"
    return f"{said}, level in {found.seeds_tied}" if found.seeds_tied else said


def _verdict(other: str, found: PairedDifference, p_holm: float) -> str:
    kind = standing(found.verdict, p_holm)
    if kind in ("ahead", "behind"):
        return (
            f"{found.verdict} if this pair were the only one; among all pairs of the report it is "
            f"not settled (p {found.p_value:.2g}, by Holm {p_holm:.2g})"
        )
    if kind == "worse":
        return f"worse. Use {other} here"
    return f"not settled; {_unlikely(found)}" if kind == "unsettled" else VERDICTS[kind]


def _verdict_of_two(found: PairedDifference, p_holm: float) -> str:
    """Of one run each: it is about these two trained models, and nothing to act on."""
    kind = VERDICTS[standing(found.verdict, p_holm)]
    return f"{kind}, of these two trained models; what another seed would change was not measured"


def _unlikely(found: PairedDifference) -> str:
    """What the interval excludes; a difference of all images or more is no news."""
    low, high = found.interval
    if low > -1 and high < 1:
        return f"differences beyond {points(low)} and {points(high)} are unlikely"
    if low > -1:
        return f"differences below {points(low)} are unlikely"
    if high < 1:
        return f"differences above {points(high)} are unlikely"
    return "no difference is excluded"


def answer(
    ours: str,
    default: str,
    leader: str,
    accuracies: Mapping[str, float],
    found: Mapping[tuple[str, str], Found],
) -> str:
    """Who leads, and what that is worth; then how lacvit and the default method stand.

    Args:
        ours: the method that all others are set against.
        default: the arm that `lacvit train` trains of this backbone where nothing is said.
        leader: the method of the highest accuracy.
        accuracies: of every method.
        found: the pairs with ``ours``, with the default method and with the leader, each once.
    """
    best = accuracies[leader]
    level = [
        name
        for name, value in accuracies.items()
        if math.isclose(value, best, abs_tol=SAME) and name != leader
    ]
    so_have = f", and so {'has' if len(level) == 1 else 'have'} {' and '.join(level)}"
    # Of those that are level there is no more to say.
    others = {pair: it for pair, it in found.items() if not set(pair) & set(level)}
    relations = ["", *_relations(leader, others, figures=True)]
    said = [
        f"{leader} has the highest accuracy, {100 * best:.1f} %{so_have if level else ''}"
        f"{'; it '.join(relations)}."
    ]
    for method in dict.fromkeys((ours, default)) if len(found) > 1 else ():
        parts = _relations(method, found, figures=False)
        if method != leader and parts:
            chosen = ", the method that lacvit train would choose," if method == default else ""
            said.append(f"{method}{chosen} {'; it '.join(parts)}.")
    return " ".join(said)


def _relations(method: str, found: Mapping[tuple[str, str], Found], *, figures: bool) -> list[str]:
    """How a method stands to each other one, those alike together."""
    named: dict[str, list[str]] = {}
    for (one, two), (difference, p_holm) in found.items():
        if method not in (one, two):
            continue
        other = two if method == one else one
        own = difference if method == one else difference.mirrored()
        low, high = (points(end) for end in own.interval)
        text = f"{other} ({points(own.difference)} points, {low} to {high})" if figures else other
        named.setdefault(standing(own.verdict, p_holm), []).append(text)
    return [
        form.format(" and ".join(named[kind])) for kind, form in RELATIONS.items() if kind in named
    ]


def over_cells(cells: Sequence[Mapping[str, Any]]) -> str:
    """One sentence over several settings: who leads where, and how the reference stands.

    Args:
        cells: those of ``comparison.json``; those in which no two methods have ended say nothing.
    """
    told = [cell for cell in cells if cell["pairs"]]
    led = Counter(cell["leader"] for cell in told)
    if len(told) < 2:
        return ""
    said = ", ".join(f"{name} in {count}" for name, count in led.most_common())
    stands: dict[str, Counter[str]] = {}
    for cell in told:
        for pair in cell["pairs"]:
            if pair["method"] == cell["reference"]:
                kind = standing(pair["verdict"], pair["p_holm"])
                stands.setdefault(pair["against"], Counter())[kind] += 1
    ours = told[0]["reference"]
    against = "; ".join(
        f"against {other}: " + ", ".join(f"{VERDICTS[k]} in {n[k]}" for k in RELATIONS if n[k])
        for other, n in stands.items()
    )
    return f"Of {len(told)} settings the highest accuracy has {said}. {ours} {against}."
