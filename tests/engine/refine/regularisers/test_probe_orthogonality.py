"""Overlap of probe modes: by the formula, for each probe separately, and zero for orthogonal modes."""

import numpy as np
import pytest

from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.regularisers.probe_orthogonality import ProbeOrthogonality
from ptylive.engine.refine.regularisers.projections import orthogonal
from ptylive.schema.preset import Preset

RNG = np.random.default_rng(8)
MODES = RNG.normal(size=(6, 12, 12)) + 1j * RNG.normal(size=(6, 12, 12))


def by_formula(modes, probes):
    found = 0.0
    for probe in modes.reshape(probes, -1, 144):
        pairs = [(i, j) for j in range(len(probe)) for i in range(j)]
        found += sum(abs(np.vdot(probe[i], probe[j])) ** 2 for i, j in pairs)
    return found / (abs(modes) ** 2).sum()


@pytest.mark.parametrize("probes", [1, 2, 3])
def test_the_formula_and_its_gradient(probes):
    """Compared with fourth-order central differences, in double precision, away from any kink."""
    penalty, direction = ProbeOrthogonality(0.7, probes), RNG.normal(size=MODES.shape) * (1 + 0.3j)
    value, gradient = penalty.of(MODES, np)
    assert value == pytest.approx(0.7 * by_formula(MODES, probes), rel=1e-12)
    at = [penalty.of(MODES + k * 1e-4 * direction, np).value for k in (-2, -1, 1, 2)]
    expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / 12e-4
    assert (gradient.conj() * direction).real.sum() == pytest.approx(expected, rel=1e-6)


def test_orthogonal_modes_cost_nothing():
    turned = orthogonal(MODES.reshape(6, -1), np).reshape(MODES.shape)
    value, gradient = ProbeOrthogonality(1.0).of(turned, np)
    assert value < 1e-20 * (abs(MODES) ** 2).sum()
    np.testing.assert_allclose(gradient, 0, atol=1e-10)


def test_a_setting_turns_it_on_where_there_are_modes(simulated):
    for modes, there in ((1, 0), (3, 1)):
        preset = Preset.from_mapping({"probe_modes": modes, "probe_orthogonality_weight": 0.1, "window_px": 24})
        problem = prepare(simulated.dataset, preset, None)
        made = problem.regularisation.made(preset.regularisers, problem.layout, "penalty")
        assert [said.name for said, _ in made] == ["probe_orthogonality"] * there
