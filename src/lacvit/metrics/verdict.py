"""What training did to the isotropy of an embedding, in words, from the figures of `geometry`.

"More isotropic" is read in two ways that need not agree: by the cone (the raw mean cosine) and by
the spectrum (IsoScore). The verdict says of each whether it holds.
"""

from __future__ import annotations

from collections.abc import Mapping

# Below these a change is called none: half of what the sentences print, or what another draw of a
# few hundred test images moves.
COSINE_STEP = 0.01
ISO_STEP = 0.005

# Stage that trained an encoder -> what the sentences call it.
TRAINED_BY: Mapping[str, str] = {
    "contrastive": "contrastive training",
    "joint": "joint training",
    "cross_entropy": "cross-entropy training",
}
CLAIM = "The paper claims a more isotropic space"


def isotropy_verdict(
    before: Mapping[str, float],
    after: Mapping[str, float] | None,
    *,
    classes: int,
    dimensions: int,
    trained_by: str = "training",
) -> tuple[str, ...]:
    """Sentences on the claim that training makes an embedding more isotropic.

    Args:
        before: `geometry` of the pretrained encoder.
        after: that of the trained one, on the same images; None where nothing trained it.
        classes: of the test images.
        dimensions: of the embedding.
        trained_by: what trained the encoder, for the sentences ("contrastive training").

    Returns:
        The cone, the spectrum, what they say together, and what tight classes have to do with it;
        none where a figure that this needs is not defined (`mean_cosine`, `iso_score`).
    """
    needed = ("mean_cosine", "iso_score")
    if any(name not in figures for name in needed for figures in (before, after or before)):
        return ()
    if after is None:
        return (
            f"The encoder is as it was pretrained, so nothing was made more isotropic. The mean "
            f"cosine of two test images is {_cosine(before)} (0: no cone), their IsoScore "
            f"{_iso(before)} (1: variance spread evenly over all {dimensions} directions).",
        )
    cone = _turn(abs(before["mean_cosine"]) - abs(after["mean_cosine"]), COSINE_STEP)
    spectrum = _turn(after["iso_score"] - before["iso_score"], ISO_STEP)
    return (
        f"By the cone the embedding is {_said(cone)} after {trained_by}: the mean cosine of two "
        f"test images was {_cosine(before)} and is {_cosine(after)} (0: no cone).",
        f"By the spectrum it is {_said(spectrum)}: IsoScore was {_iso(before)} and is "
        f"{_iso(after)} (1: variance spread evenly over all {dimensions} directions).",
        f"{CLAIM}. After {trained_by} that holds here {_together(cone > 0, spectrum > 0)}.",
        *_tightness(before, after, classes, dimensions),
    )


def _tightness(
    before: Mapping[str, float], after: Mapping[str, float], classes: int, dimensions: int
) -> tuple[str, ...]:
    """Why the spectrum may get poorer while the classes get better."""
    if classes - 1 > dimensions or not all("alignment" in figures for figures in (before, after)):
        return ()  # a simplex of so many points has no room
    simplex = (classes - 2) / (dimensions - 1)
    within = [1 - figures["alignment"] / 2 for figures in (before, after)]
    nearer = _turn(within[1] - within[0], COSINE_STEP)
    moved = {1: "came nearer to one another", 0: "stayed as near", -1: "moved apart"}[nearer]
    return (
        f"Tight classes and isotropy pull apart: {classes} classes, each drawn together to a point "
        f"and all equally far apart, have a mean cosine near 0 and an IsoScore of "
        f"(C - 2) / (D - 1) = {simplex:.3f}. Here images of one class {moved}: their mean cosine "
        f"was {within[0]:.2f} and is {within[1]:.2f}.",
    )


def _turn(change: float, step: float) -> int:
    """1 for more, -1 for less, 0 for no change worth a word."""
    return 0 if abs(change) < step else 1 if change > 0 else -1


def _said(turn: int) -> str:
    return {1: "more isotropic", 0: "as isotropic as before", -1: "less isotropic"}[turn]


def _together(cone: bool, spectrum: bool) -> str:
    if cone and spectrum:
        return "by both readings"
    if cone or spectrum:
        holds, fails = ("cone", "spectrum") if cone else ("spectrum", "cone")
        return f"by the {holds}, and not by the {fails}"
    return "by neither reading"


def _cosine(figures: Mapping[str, float]) -> str:
    return f"{figures['mean_cosine'] + 0.0:.2f}".replace("-0.00", "0.00")


def _iso(figures: Mapping[str, float]) -> str:
    return f"{figures['iso_score']:.3f}"
