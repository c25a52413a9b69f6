"""The engines by the names that ``optimizer`` accepts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.refine.engines.adam import Adam
from ptylive.engine.refine.engines.epie import Epie
from ptylive.engine.refine.engines.lsq_ml import LsqMl
from ptylive.engine.refine.engines.rule import EngineRule, PublishedSettings, RuleInput

PUBLISHED: Mapping[str, PublishedSettings] = MappingProxyType(
    {"epie": Epie.published, "lsq_ml": LsqMl.published, "adam": Adam.published}
)
"""The values of ``auto`` for each engine."""


def rule_of(inputs: RuleInput, backend: MultisliceBackend) -> EngineRule:
    """The rule that the settings name. KeyError for an unknown name."""
    name = inputs.settings.optimizer
    if name == "epie":
        return Epie.of(inputs, backend.xp)
    if name == "lsq_ml":
        return LsqMl.of(inputs, backend.xp)
    if name == "adam":
        return Adam.of(inputs)
    raise KeyError(name)
