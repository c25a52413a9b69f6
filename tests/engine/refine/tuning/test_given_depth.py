"""Slices for a thickness that is given, or that an earlier run found."""

from dataclasses import replace

import pytest
from columns import ENERGY_EV, SEMIANGLE_MRAD, scan_of_columns

from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.tuning.depth.depth_choice import with_depth_of, with_given_depth
from ptylive.schema import MetadataError, Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.schema.units import wavelength_A

DEPTH_A = wavelength_A(ENERGY_EV) / (1e-3 * SEMIANGLE_MRAD) ** 2


@pytest.mark.parametrize(
    ("settings", "slices"),
    [
        ({"total_thickness_A": 0.2 * DEPTH_A}, 1),
        ({"total_thickness_A": 0.3 * DEPTH_A}, 2),
        ({"total_thickness_A": 1.7 * DEPTH_A}, 6),
        ({"total_thickness_A": 60.0, "slice_distances_A": (12.0,)}, 5),
        ({"slice_distances_A": (12.0, 12.0, 9.0)}, 4),
        ({"slice_distances_A": (12.0,)}, "auto"),
        ({}, "auto"),
    ],
)
def test_a_given_thickness_makes_the_slices(settings, slices):
    dataset = scan_of_columns(points=4)
    preset = with_given_depth(dataset, Preset(**settings))
    assert preset.object.num_slices == slices
    assert prepare(dataset, preset, None).multislice.object_shape[0] == (1 if slices == "auto" else slices)


def test_the_depth_of_an_earlier_run_is_taken_where_it_is_open():
    dataset = scan_of_columns(points=4)
    same, preset = with_depth_of(dataset, Preset(), 4, 60.0)
    assert same is dataset
    assert preset.object.spacings_A == (15.0,) * 3
    assert with_depth_of(dataset, Preset(), 1, 0.0)[1].object.slice_thickness_A == (0,)
    told = with_depth_of(dataset, Preset(total_thickness_A=60.0), 1, 60.0)[1]
    assert told.object.slice_thickness_A == (60,)  # several slices were not worth it
    assert with_depth_of(dataset, Preset(total_thickness_A=60.0), 7, 60.0)[1].object.slices == 7
    given = Preset(num_slices=2, total_thickness_A=30.0)
    assert with_depth_of(dataset, given, 4, 60.0) == (dataset, given)
    uneven = with_depth_of(dataset, Preset(slice_distances_A=(5.0, 10.0, 20.0)), 4, 55.0)[1]
    assert uneven.object.spacings_A == (5.0, 10.0, 20.0)
    estimated = replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-25.0, Origin.ESTIMATED)))
    assert with_depth_of(estimated, Preset(), 4, 60.0)[0].calibration.aberrations["C10"] == -55.0


@pytest.mark.parametrize(("thickness_A", "distances_A"), [(1e6, None), (100.0, (0.01,))])
def test_more_slices_than_possible_are_refused(thickness_A, distances_A):
    preset = Preset(total_thickness_A=thickness_A, slice_distances_A=distances_A)
    with pytest.raises(MetadataError, match="at most 1000 are possible"):
        with_given_depth(scan_of_columns(points=4), preset)


def test_without_a_semi_angle_a_given_thickness_is_one_slice():
    dataset = scan_of_columns(points=4)
    known = {name: one for name, one in dataset.calibration.entries.items() if name != "convergence_semiangle_mrad"}
    blind = replace(dataset, calibration=type(dataset.calibration)(known))
    assert blind.calibration.depth_of_focus_A is None
    assert with_given_depth(blind, Preset(total_thickness_A=100.0)).object.num_slices == 1
