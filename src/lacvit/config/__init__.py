"""The settings of a run, and where they come from.

``--help``, ``settings.toml``, the docs and the checks are made from the fields of ``settings``. A
run's settings come, each beating the one before, from the defaults, the arm's overrides, a recipe
(TOML), ``--set`` and flags; what the arm fixes beats them all. ``"auto"`` is resolved by the
pipeline before anything is trained.
"""

from lacvit.config.settings import (
    BackboneSettings,
    ContrastiveSettings,
    ContrastSettings,
    CrossEntropySettings,
    DataSettings,
    EvaluationSettings,
    HeadInit,
    HeadSettings,
    JointSettings,
    OptimizerSettings,
    RunSettings,
    Settings,
    ViewSettings,
)
from lacvit.config.sources import (
    OF_ITS_BUDGET,
    OF_ONE_RUN,
    all_keys,
    contradictory_assignments,
    default_of,
    describe,
    flatten,
    has_effect,
    make_settings,
    parse_assignment,
    read_recipe,
)

__all__ = [
    "OF_ITS_BUDGET",
    "OF_ONE_RUN",
    "BackboneSettings",
    "ContrastSettings",
    "ContrastiveSettings",
    "CrossEntropySettings",
    "DataSettings",
    "EvaluationSettings",
    "HeadInit",
    "HeadSettings",
    "JointSettings",
    "OptimizerSettings",
    "RunSettings",
    "Settings",
    "ViewSettings",
    "all_keys",
    "contradictory_assignments",
    "default_of",
    "describe",
    "flatten",
    "has_effect",
    "make_settings",
    "parse_assignment",
    "read_recipe",
]
