"""Phase and absorption of every form of object, converted there and back."""

import numpy as np
import pytest

from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.regularisers.potentials import (
    FAINTEST,
    absorption_of,
    change_object,
    modulus,
    potentials,
    set_potentials,
)
from ptylive.schema.preset import Preset

FORMS = [{"phase_only_obj": True}, {"phase_only_obj": False}, {"weakly_damped_obj": True}]


@pytest.fixture(params=FORMS, ids=["phase", "complex", "damped"])
def layout(request, simulated):
    return prepare(simulated.dataset, Preset.from_mapping({"window_px": 24, **request.param}), None).layout


def test_there_and_back(layout):
    rng = np.random.default_rng(0)
    vector = layout.start(np.zeros((layout.planes, *layout.object_shape[1:])))
    phase, absorption = rng.uniform(-3, 3, (1, *layout.object_shape)), rng.uniform(0, 1, (1, *layout.object_shape))
    set_potentials(layout, vector, phase.astype("f4"), absorption.astype("f4"), np)
    found = potentials(layout, vector, np)
    np.testing.assert_allclose(found[0], phase, atol=2e-6)
    np.testing.assert_allclose(found[1], 0 if layout.object_form is ObjectForm.PHASE else absorption, atol=2e-6)
    wave = layout.to_complex(vector)[0]
    np.testing.assert_allclose(np.abs(wave), modulus(found[1], np), atol=2e-6)


def test_a_linear_change_is_of_what_is_refined(layout):
    vector = layout.start(np.full((layout.planes, *layout.object_shape[1:]), 0.4))
    before = layout.to_complex(vector)[0]
    change_object(layout, vector, lambda part: 0.5 * part, np)
    complex_form = layout.object_form is ObjectForm.COMPLEX
    expected = 0.5 * before if complex_form else np.exp(0.2j)
    np.testing.assert_allclose(layout.to_complex(vector)[0], np.broadcast_to(expected, before.shape), atol=1e-6)


def test_what_is_dark_has_a_bound():
    assert absorption_of(np.zeros(1), np)[0] == pytest.approx(-np.log(FAINTEST))
