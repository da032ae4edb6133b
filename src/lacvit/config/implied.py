"""Which stage the settings by hand mean where no method is named."""

from __future__ import annotations

from lacvit.arms import OF_STAGE
from lacvit.config.settings import RunSettings


def implied_setting(settings: RunSettings) -> tuple[str, str] | None:
    """The stage that alone was set by hand, and the dotted setting that says so; None if none was.

    What was set of all stages alike, as by ``--lr``, means none of them, and
    ``contrastive.epochs`` are every method's budget.
    """
    found = _set_by_hand(settings)
    return found[0] if len(found) == 1 else None


def contradictory_stages(settings: RunSettings) -> list[str]:
    """The fault of settings that no automatic choice would read all of."""
    found = _set_by_hand(settings)
    if len(found) < 2:
        return []
    first, *others = (key for _, key in found)
    joint = "joint" in dict(found)
    flags = " Beside --method joint-refit, --temperature and --loss are joint's." if joint else ""
    return [
        f"{first} is set, and so is {' and '.join(others)}: they are of different stages, and no "
        f"method is named. Leave one out, or name what is meant with --method.{flags}"
    ]


def _set_by_hand(settings: RunSettings) -> list[tuple[str, str]]:
    """Each stage that was set on its own, with the first setting of it."""
    given = {stage: getattr(settings, stage).model_dump(exclude_unset=True) for stage in OF_STAGE}
    given["contrastive"].pop("epochs", None)
    own = {
        stage: [n for n in its if any(other.get(n) != its[n] for other in given.values())]
        for stage, its in given.items()
    }
    if sum(map(bool, own.values())) > 1:
        # A whole recipe, such as `lacvit settings` prints, sets them all: what it changes counts.
        usual = RunSettings().model_dump()
        own = {
            stage: [name for name in names if given[stage][name] != usual[stage][name]]
            for stage, names in own.items()
        }
    return [(stage, f"{stage}.{names[0]}") for stage, names in own.items() if names]
