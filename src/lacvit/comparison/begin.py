"""A comparison before its first run: everything that can be found wrong is found here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lacvit import settling
from lacvit.comparison import budget, identity, trial_runs
from lacvit.comparison.folds import settle_folds
from lacvit.comparison.outlook import Outlook, look_ahead
from lacvit.comparison.plan import Request, plan_runs
from lacvit.config import make_settings
from lacvit.shared import Shared
from lacvit.training.logs import Progress

AUTO = "auto"


@dataclass(frozen=True)
class Work:
    """A comparison whose data and backbones were found sound; nothing is written yet."""

    given: Mapping[str, object]
    request: Request  # without "auto"
    fingerprint: str  # of the data
    copies: Mapping[str, Any] | None  # test images that train too
    outlook: Outlook
    budget: Mapping[str, Any] | None  # as an earlier start decided it
    shared: Shared
    progress: Progress

    @property
    def data(self) -> str:
        return str(self.given.get("data.path", ""))


def begin(given: Mapping[str, object], request: Request, progress: Progress) -> Work:
    """Everything that can be found wrong is found here; nothing is written.

    Raises:
        InputError: anything that the user can mend.
    """
    # What is wrong with them is told before any image is read.
    planned = plan_runs(given, request)
    budget.check_budget(request, given)
    trial_runs.check_trials(request, given)
    earlier = identity.earlier_figures(request.output)
    for settings in {run.settings.backbone.spec: run.settings for run in planned}.values():
        settling.check_there(settings, begun=bool(earlier))
    shared = Shared()
    fingerprint = identity.fingerprint_of(given, shared, progress)
    identity.check_validation(given, request, shared)
    identity.check_same(earlier, request, str(given.get("data.path", "")), fingerprint)
    request = _settle(given, request, earlier, shared, progress)
    request = settle_folds(given, request, earlier, progress)
    trial_runs.check_design(request)
    given = _settle_precision(given, request, earlier, shared, progress)
    copies = identity.find_copies(given, request, shared, progress)
    outlook = look_ahead(plan_runs(given, request), shared, progress)
    defaults = {spec: encoder.default for spec, encoder in outlook.encoders.items()}
    request = replace(request, defaults=defaults)
    decided = earlier.get("budget")
    return Work(given, request, fingerprint, copies, outlook, decided, shared, progress)


def _settle(
    given: Mapping[str, object],
    request: Request,
    earlier: Mapping[str, Any],
    shared: Shared,
    progress: Progress,
) -> Request:
    """``auto`` among the backbones resolved once, so that every method has the same one.

    A comparison that goes on keeps the choice that it began with.
    """
    if AUTO not in request.backbones:
        return request
    chosen = earlier.get(AUTO)
    if chosen is None:
        chosen = settling.choose_backbone(make_settings(recipe=given), progress, shared)
    if isinstance(chosen, str):  # as an earlier version kept it
        chosen = {"spec": chosen, "words": f"Backbone: {chosen}, chosen when this began."}
    names = dict.fromkeys(chosen["spec"] if name == AUTO else name for name in request.backbones)
    return replace(request, backbones=tuple(names), chosen=chosen)


def _settle_precision(
    given: Mapping[str, object],
    request: Request,
    earlier: Mapping[str, Any],
    shared: Shared,
    progress: Progress,
) -> Mapping[str, object]:
    """``auto`` measured once, on the first backbone: else one method might have another's digits.

    A comparison that goes on keeps what it began with; an earlier version left it to each run.
    """
    if given.get("precision", AUTO) != AUTO or (earlier and "precision" not in earlier):
        return given
    first = plan_runs(given, request)[0].settings
    measured = earlier.get("precision") or settling.choose_precision(first, progress, shared)
    return {**given, "precision": measured}
