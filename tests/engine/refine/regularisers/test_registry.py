"""Regularisers by registration: the information they must declare, and what a class that does so receives."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.regularisers import registry
from ptylive.engine.refine.regularisers.penalty import Penalised, Penalties
from ptylive.engine.refine.regularisers.projections import due, projected
from ptylive.engine.refine.regularisers.registration import MARK, Setting, regulariser
from ptylive.engine.refine.regularisers.registry import add, registered, switched_on
from ptylive.engine.refine.run.epoch_schedule import _active
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema import MetadataError, RefinementError
from ptylive.schema.preset import Preset, added


@pytest.fixture
def empty(monkeypatch):
    """Registries that exist for one test only."""
    known = {each.name: each for each in registered()}
    monkeypatch.setattr(registry, "_known", registry._Known(known))
    there = added._declared
    fresh = added._Declared(dict(there.settings), dict(there.owners), {}, [])
    monkeypatch.setattr(added, "_declared", fresh)
    return known


def test_those_of_the_folder_are_found_in_the_order_they_are_added_up():
    names = [each.name for each in registered() if each.order < 100]
    objects = ["phase_norm", "abs_norm", "atv", "missing_wedge", "mixed_variance"]
    assert names == [*objects, "probe_reg_constraint", "window", "smooth_scan"]


def test_what_makes_a_history_old_is_told_by_the_registry():
    """The settings are those formerly recognised by the word weight in their name."""
    by_name = {name for name in Preset.settings() if "weight" in name}
    perpendicular = {"perpendicular_weight", "perpendicular_weight_dark"}
    not_of_regularisers = {"loss_weight", "edge_weight", "noise_weighting", *perpendicular}
    assert {name for each in registered() for name in each.switches} >= by_name - not_of_regularisers
    assert switched_on(Preset().regularisers) == frozenset()
    assert _active(Preset(atv_weight=1)) - _active(Preset()) == {"atv_weight"}


WEIGHT = Setting("dark_pull", 0.0, "a weight", at_least=0.0)


def declared(name, settings=(WEIGHT,), **said):
    @regulariser(name, **{"acts_on": "object", "settings": settings, **said})
    @dataclass(frozen=True)
    class Made:
        weight: float

        @classmethod
        def of_preset(cls, asked):
            assert asked.preset.value("dark_pull") == asked.settings.value("dark_pull")  # plug-ins use either
            return cls(asked.weight("dark_pull"))

        def of(self, wave, xp):
            return Penalised(self.weight * (abs(wave) ** 2).sum(), 2 * self.weight * wave)

        def changed(self, wave, xp):
            return wave * (1 - self.weight)

    return getattr(Made, MARK)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (declared("atv"), "the name atv is already used"),
        (declared("dark", settings=()), "dark has no setting that turns it on: declare its weight"),
        (
            declared("dark", settings=(Setting("atv_p", 0.0, "x"),)),
            "the setting atv_p is already used by the preset itself",
        ),
        (declared("dark", settings=(Setting("model_dump", 0.0, "x"),)), "the setting model_dump is already used"),
        (declared("dark", settings=(Setting("a b", 0.0, "x"),)), "'a b' is not a valid name for a setting"),
        (declared("dark", settings=(Setting("dark_pull", 0.0, ""),)), "and a line of help"),
        (declared("dark", acts_on="parameters"), "dark has no add"),
        (declared("dark", acts_on="parameters", kind="projection"), "projections change object or probe"),
        (declared("dark", acts_on="both", kind="projection"), "dark has no all_changed"),
        (declared("dark", acts_on="both"), "a penalty acts on object or probe"),
        (declared("dark", acts_on="parameters", kind="held"), "dark has no project_gradient and no restore_fixed"),
        (declared("dark", kind="held"), "a constraint that is held acts on parameters"),
    ],
)
def test_what_says_too_little_or_takes_a_name_is_refused(empty, said, line):
    before = (dict(empty), dict(added.declared()))
    with pytest.raises(MetadataError) as error:
        add(empty, said)
    assert line in error.value.line()
    assert (empty, added.declared()) == before


def test_a_penalty_is_asked_for_by_its_own_setting(empty, simulated):
    add(empty, declared("dark"))
    preset = Preset.from_mapping({"dark_pull": "0.5 if epoch < 3 else 0", "loss_weight": 2, "epoch_max": 4})
    setup = prepare(simulated.dataset, preset, None)
    (penalties,) = setup.terms
    assert isinstance(penalties, Penalties)
    assert penalties.of_object[0].weight == 0.25
    assert setup.regularisation.owns(penalties)
    assert setup.regularisation.terms(preset.at(3).regularisers, setup.layout) == ()
    assert _active(preset.at(0)) - _active(preset.at(3)) == {"dark_pull"}
    assert Preset().value("dark_pull") == 0.0


@pytest.mark.parametrize("phase_only", [True, False])
def test_a_projection_changes_object_and_probe(empty, simulated, phase_only):
    add(empty, replace(declared("dark"), kind="projection"))
    preset = Preset.from_mapping({"dark_pull": 0.25, "epoch_max": 4, "phase_only_obj": phase_only})
    setup = prepare(simulated.dataset, preset, None)
    assert due(preset.regularisers)
    assert not due(Preset().regularisers)
    vector = projected(setup.start, preset.regularisers, setup.layout, setup.regularisation, np)
    transmission, probe = setup.layout.to_complex(vector)
    np.testing.assert_allclose(transmission, 1.0 if phase_only else 0.75, rtol=1e-6)  # 16 eps of single precision
    empty["dark"] = replace(empty["dark"], acts_on="probe")
    dimmer = setup.layout.to_complex(
        projected(setup.start, preset.regularisers, setup.layout, setup.regularisation, np)
    )[1]
    np.testing.assert_allclose(dimmer, 0.75 * probe, rtol=1e-6)


class Lit:
    """A third-party constraint: no parameter of the object below 0.1."""

    @classmethod
    def of_preset(cls, asked):
        return cls()

    def project_gradient(self, layout, vector, gradient, xp):
        block = layout.object_block(gradient)
        block[(layout.object_block(vector) <= 0.1) & (block > 0)] = 0

    def restore_fixed(self, layout, vector, xp):
        block = layout.object_block(vector)
        xp.maximum(block, 0.1, out=block)


def test_a_constraint_of_somebody_elses_holds_in_every_epoch(empty, simulated):
    add(empty, replace(declared("dark", acts_on="parameters"), kind="held", made_by=Lit))
    values = {"phase_only_obj": True, "epoch_max": 5, "sweeps": 2, "probe_modes": 1, "window_px": 24}
    lit = refine(simulated.dataset, Preset.from_mapping({**values, "dark_pull": 1}), backend="cpu")
    free = refine(simulated.dataset, Preset.from_mapping(values), backend="cpu")
    assert np.angle(lit.object).min() == pytest.approx(0.1, rel=1e-6)
    assert np.angle(free.object).min() < 0.05
    assert lit.state == "done" and lit.loss[-1] < lit.loss[0]


def test_what_a_plug_in_raises_is_one_line(empty, simulated):
    class Failing:
        @classmethod
        def of_preset(cls, asked):
            return asked.nothing

        def of(self, wave, xp):
            return None

    Failing.__module__ = "somebody.else"
    add(empty, replace(declared("dark"), made_by=Failing))
    with pytest.raises(RefinementError, match=r"Failing of the plug-in somebody.else failed: AttributeError"):
        prepare(simulated.dataset, Preset.from_mapping({"dark_pull": 1}), None)


def test_what_a_term_of_a_plug_in_raises_is_one_line(empty, simulated):
    class Failing:
        @classmethod
        def of_preset(cls, asked):
            return cls()

        def add(self, layout, vector, gradient, xp):
            gradient["no such block"] = 0

    Failing.__module__ = "somebody.else"
    add(empty, replace(declared("dark"), made_by=Failing, acts_on="parameters"))
    setup = prepare(simulated.dataset, Preset.from_mapping({"dark_pull": 1, "probe_modes": 1}), None)
    backend = GeneralMultislice(setup.multislice, np, "complex64", "cpu")
    objective = Objective(backend, setup.layout, setup.multislice.count, terms=setup.terms)
    with pytest.raises(RefinementError, match=r"Failing of the plug-in somebody.else failed: IndexError"):
        objective.evaluate(setup.start, np.arange(2))
