"""Engines have the names that the setting accepts."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.engines.adam import Adam
from ptylive.engine.refine.engines.epie import Epie
from ptylive.engine.refine.engines.lsq_ml import LsqMl
from ptylive.engine.refine.engines.named import PUBLISHED, rule_of
from ptylive.engine.refine.engines.rule import RuleInput
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.schema.preset import Preset
from ptylive.schema.preset.solver import ENGINES

BACKEND = SimpleNamespace(xp=np)


def test_every_name_has_an_engine_and_what_auto_stands_for(small):
    assert tuple(PUBLISHED) == ENGINES
    kinds = []
    for name in ENGINES:
        preset = Preset(window_px=32, probe_modes=1, optimizer=name, sweep_step=0.7, probe_step=0.3)
        problem = prepare(small.dataset, preset, None)
        rule = rule_of(RuleInput(problem.multislice, preset.solver, 0.7, 0.3), BACKEND)
        kinds.append(type(rule))
        assert (problem.strategy.epochs, problem.strategy.batch_size) == (
            PUBLISHED[name].epochs,
            PUBLISHED[name].batch_size,
        )
        assert f"optimizer={name} as published" in problem.strategy.reason
        if name != "adam":
            assert (rule.object_step, rule.probe_step) == (0.7, 0.3)
    assert kinds == [Epie, LsqMl, Adam]


def test_no_other_name(small):
    problem = prepare(small.dataset, Preset(window_px=32, probe_modes=1), None)
    with pytest.raises(KeyError, match="scaled"):
        rule_of(RuleInput(problem.multislice, Preset().solver, 1.0, 1.0), BACKEND)


def test_the_strategy_is_the_published_one(small):
    preset = Preset(window_px=32, probe_modes=1, optimizer="epie", epoch_max=7, batch_size=3)
    strategy = prepare(small.dataset, preset, None).strategy
    assert (str(strategy.kind), strategy.offset, str(strategy.object_form)) == ("lsq_sqrt", 0.0, "complex")
    assert (strategy.sweeps, strategy.epochs, strategy.batch_size, strategy.more_epochs) == (7, 7, 3, 0)
    given = {"algorithm": "ml", "phase_only_obj": True, "non_negative_phase": True}
    strategy = prepare(small.dataset, Preset(window_px=32, probe_modes=1, optimizer="adam", **given), None).strategy
    assert (str(strategy.kind), strategy.non_negative, strategy.batch_size) == ("ml", True, 32)
