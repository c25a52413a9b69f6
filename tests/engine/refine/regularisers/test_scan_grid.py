"""Smoothness over the scan: value and gradient against differences, and what costs nothing."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.regularisers.scan_grid import SmoothGrid
from ptylive.engine.refine.regularisers.scan_neighbours import ScanArrangement

SHAPE = (4, 5)
POINT = np.arange(20)
PLACES = np.stack(np.divmod(POINT, SHAPE[1]), axis=1).astype(float)
GRID = ScanArrangement.of(POINT, SHAPE, PLACES)
NOMINAL = np.random.default_rng(0).normal(size=(20, 2))
BEND = np.stack([PLACES[:, 1] ** 2, np.zeros(20)], axis=1)


class Layout:
    """Displacements are all that there is."""

    def other_blocks(self, vector):
        return {BlockName.SHIFTS: vector.reshape(20, 2)}


def penalty(displacements, fast=0.0, slow=0.0, deformation=0.0):
    """Its value and gradient."""
    term = SmoothGrid(BlockName.SHIFTS, NOMINAL, GRID, fast, slow, deformation)
    gradient = np.zeros(40)
    return term.add(Layout(), (NOMINAL + displacements).ravel(), gradient, np), gradient.reshape(20, 2)


ONLY = [{"fast": 2.0}, {"slow": 3.0}, {"deformation": 0.5}, {"fast": 2.0, "slow": 3.0, "deformation": 0.5}]


@pytest.mark.parametrize("weights", ONLY, ids=" ".join)
def test_the_gradient_is_that_of_the_value(weights):
    rng = np.random.default_rng(1)
    at, along = rng.normal(size=(2, 20, 2))
    ahead, behind = (penalty(at + step * along, **weights)[0] for step in (1e-4, -1e-4))
    # sums of squares: exact but for the rounding of columns in single precision
    assert (ahead - behind) / 2e-4 == pytest.approx(float((penalty(at, **weights)[1] * along).sum()), rel=1e-5)


@pytest.mark.parametrize(
    ("displacements", "weights", "value"),
    [
        (PLACES @ [[0.1, 0.3], [-0.2, 0.5]] + 1.0, {"fast": 1.0, "slow": 1.0, "deformation": 1.0}, 0.0),
        (BEND, {"fast": 2.0}, 2.0 * 4 * 3 * 2.0**2),  # second differences of 2 in three places of four rows
        (BEND, {"slow": 1.0}, 0.0),  # the means of the rows are the same
        (BEND[:, ::-1] * 0 + PLACES[:, :1] ** 2, {"slow": 3.0}, 3.0 * 2 * 2 * 2.0**2),  # two components, two places
        (PLACES[:, :1] ** 2 * np.ones(2), {"fast": 1.0}, 0.0),
    ],
)
def test_values_by_hand(displacements, weights, value):
    assert penalty(displacements, **weights)[0] == pytest.approx(value, abs=1e-4)  # columns in single precision


@pytest.mark.parametrize("weights", ONLY, ids=" ".join)
def test_the_curvature_is_a_bound(weights):
    bound = SmoothGrid(BlockName.SHIFTS, NOMINAL, GRID, **{"fast": 0, "slow": 0, "deformation": 0, **weights}).curvature
    base = penalty(np.zeros((20, 2)), **weights)[0]
    for index in range(20):
        one = np.zeros((20, 2))
        one[index, 0] = 1.0
        assert 2 * (penalty(one, **weights)[0] - base) <= bound * (1 + 1e-6)


@pytest.mark.parametrize(("weight", "length"), [(0.0, 20), (4.0, 20), (4.0, 1)])
def test_only_what_every_pattern_has_is_smoothed(weight, length):
    """Weights are per Å², positions are refined in pixels, and all refer to the weight of the data."""
    settings = SimpleNamespace(
        loss_weight=2.0,
        fast_axis_reg_weight_positions=weight,
        slow_axis_reg_weight_positions=0.0,
        deformation_reg_weight_positions=weight,
        fast_axis_reg_weight_tilts=9.0,
        slow_axis_reg_weight_tilts=9.0,
        deformation_reg_weight_tilts=9.0,
    )
    blocks = [SimpleNamespace(name="shifts_px", start=np.zeros((length, 2)))]
    context = SimpleNamespace(
        settings=settings, grid=SimpleNamespace(pixel_A=0.5), layout=SimpleNamespace(blocks=blocks), scan=GRID
    )
    found = SmoothGrid.of_preset(context)
    if not weight or length == 1:
        assert found == ()
        return
    (one,) = found
    assert (one.block, one.fast, one.slow, one.deformation) == (BlockName.SHIFTS, 0.5, 0.0, 0.5)
    assert SmoothGrid.curvature_of_positions(settings, context.grid) == 2 * 0.25 * (16 * weight + weight)
