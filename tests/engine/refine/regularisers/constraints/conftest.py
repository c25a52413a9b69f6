"""A specimen of three slices and two modes, in every form of object, away from its start."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptylive.engine.refine.problem.prepare import Problem, prepare
from ptylive.engine.refine.regularisers.potentials import potentials
from ptylive.engine.refine.regularisers.projections import lasting, projected
from ptylive.schema.preset import Preset

FORMS = {"phase": {"phase_only_obj": True}, "complex": {"phase_only_obj": False}, "damped": {"weakly_damped_obj": True}}
THICK = {"num_slices": 3, "total_thickness_A": 30.0, "obj_modes": 2, "probe_modes": 1, "window_px": 24}


@dataclass(frozen=True)
class Bumpy:
    """A problem, and a vector away from its start."""

    setup: Problem
    vector: Any
    settings: dict

    def preset(self, **settings) -> Preset:
        return Preset.from_mapping({**self.settings, **settings})

    def made(self, **settings) -> list:
        """Regularisers of every kind that the settings request."""
        regularisation, layout = self.setup.regularisation, self.setup.layout
        return [
            each
            for kind in ("penalty", "projection", "held")
            for _, each in regularisation.made(self.preset(**settings).regularisers, layout, kind)
        ]

    def after(self, **settings) -> Any:
        """The vector after the projections of an epoch."""
        regularisers = self.preset(**settings).regularisers
        found = projected(self.vector, regularisers, self.setup.layout, self.setup.regularisation, np)
        last = lasting(self.vector, regularisers, self.setup.layout, self.setup.regularisation, np)
        np.testing.assert_array_equal(last, found)  # the result obeys them too
        return found

    def potentials(self, vector) -> tuple[Any, Any]:
        return potentials(self.setup.layout, vector, np)


def bumpy_object(simulated, **settings) -> Bumpy:
    dataset = replace(
        simulated.dataset,
        patterns=simulated.dataset.patterns[:16],
        point=simulated.dataset.point[:16],
        positions_A=simulated.dataset.positions_A[:16],
    )
    values = {**THICK, "non_negative_phase": False, **settings}
    setup = prepare(dataset, Preset.from_mapping(values), None)
    layout, rng = setup.layout, np.random.default_rng(1)
    vector = layout.start(rng.uniform(-0.2, 0.9, (layout.planes, *layout.object_shape[1:])))
    if values.get("weakly_damped_obj"):
        layout.absorption_block(vector)[...] = rng.uniform(0, 0.1, layout.object_size // 2)
    elif not values.get("phase_only_obj"):
        modulus = np.exp(-rng.uniform(-0.05, 0.1, layout.object_size // 2))
        layout.object_block(vector).reshape(2, -1)[...] *= modulus
    return Bumpy(setup, vector, values)


@pytest.fixture(params=FORMS, ids=str)
def bumpy(request, simulated):
    return bumpy_object(simulated, **FORMS[request.param])


@pytest.fixture(params=["complex", "damped"])
def absorbing(request, simulated):
    """Forms of object that have a modulus."""
    return bumpy_object(simulated, **FORMS[request.param])


@pytest.fixture
def phases(simulated):
    return bumpy_object(simulated, **FORMS["phase"])


@pytest.fixture
def complex_object(simulated):
    return bumpy_object(simulated, **FORMS["complex"])


@pytest.fixture
def thin(simulated):
    return bumpy_object(simulated, phase_only_obj=False, num_slices=1, total_thickness_A=None)


@pytest.fixture(scope="session")
def ptyrad():
    """Results of PtyRAD's constraints on a random object (tests/peers/write_ptyrad_constraints.py)."""
    fixtures = Path(__file__).resolve().parents[4] / "fixtures"
    with np.load(fixtures / "ptyrad_constraints.npz") as file:
        return {name: file[name] for name in file.files}
