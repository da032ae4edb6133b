"""Settings each of which is sound, and which do not go together."""

from __future__ import annotations

from lacvit.config.settings import RunSettings


def contradictions(settings: RunSettings) -> list[str]:
    """One line a fault, each beginning with a setting that it is about."""
    head, data = settings.head, settings.data
    faults = []
    if data.folds in (None, 1):
        faults += [
            f"data.{key} says which of the data.folds tests, of which there are none. "
            f"Set data.folds=5, or leave data.{key} out."
            for key in ("fold", "fold_repeat")
            if getattr(data, key) is not None
        ]
    if head.solver != "sgd" and head.features == "live":
        faults.append(
            f"head.features=live needs head.solver=sgd: {head.solver} reads each image once. "
            "Set head.solver=sgd, or leave head.features at cached."
        )
    if head.solver == "sgd" and head.fit_on == "all":
        faults.append(
            "head.fit_on=all needs head.solver=exact: validation chooses its strength first. "
            "Leave one of them out."
        )
    contrasts = {"contrastive": settings.contrastive, "joint": settings.joint}
    for name, contrast in contrasts.items():
        if contrast.negative_weighting and contrast.loss != "supcon":
            faults.append(
                f"{name}.negative_weighting={contrast.negative_weighting} weights the "
                f"negatives of supcon, and {name}.loss is {contrast.loss!r}. "
                f"Set {name}.loss=supcon, or leave the weighting at 0."
            )
        if contrast.loss == "simclr" and settings.views.count == 1:
            faults.append(
                f"{name}.loss=simclr needs views.count=2 or more: the other views of an image "
                "are all that it attracts."
            )
    return faults
