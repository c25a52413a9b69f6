"""Parameters of a drift and a rotation, and the positions they stand for."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine.data.drift import MOST_STRAIN, Drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.run.again.strained_scan import Slopes
from ptylive.engine.refine.tuning.orientation import AS_IT_IS
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset


@pytest.fixture(params=["as it is", "mirrored"])
def nominal(moving, request):
    """A scan whose axes are right-handed in the detector's frame, and one whose are left-handed."""
    if request.param == "as it is":
        return moving.dataset
    return replace(moving.dataset, positions_A=moving.dataset.positions_A[:, ::-1].copy())


def removed(drift_A):
    return Drift(drift_A, (0.1, 0.1), 0.0, 0.0, True, "")


def affine(nominal, frame, point):
    """What multiplies the nominal positions about their middle: a fit to the placed ones."""
    placed = frame.placed(nominal, removed(frame.drift_A(point)), frame.turn_deg(point)).positions_A
    from_middle, placed = nominal.positions_A - nominal.positions_A.mean(axis=0), placed - placed.mean(axis=0)
    return np.linalg.lstsq(from_middle, placed, rcond=None)[0].T


@pytest.mark.parametrize("turns", [False, True])
def test_strains_are_the_derivatives_of_the_positions_without_their_even_part(nominal, turns):
    frame = ScanStrains(Lattice.of(nominal), turns)
    origin = np.zeros(3 if turns else 2)
    assert len(frame.directions) == len(origin)
    within_a_row = 1 / (nominal.scan_shape[0] * frame.lattice.lengths_A[0])  # the drift while the beam crosses it
    for index, direction in enumerate(frame.directions):
        point = origin.copy()
        point[index] = 1e-3
        change = (affine(nominal, frame, point) - np.eye(2)) / 1e-3
        expected = change - 0.5 * np.trace(change) * np.eye(2)
        np.testing.assert_allclose(direction.strain, expected, atol=2 * within_a_row)


def test_a_drift_alone_turns_nothing(nominal):
    frame = ScanStrains(Lattice.of(nominal), turns=True)
    assert frame.turn_deg(frame.point_of((0.4, 0.7))) == pytest.approx(0.0)
    assert frame.drift_A(frame.point_of((0.4, 0.7))) == (0.4, 0.7)
    np.testing.assert_array_equal(frame.without_turn((0.4, 0.7)), [0.4, 0.7, 0.0])
    np.testing.assert_array_equal(ScanStrains(frame.lattice, turns=False).without_turn((0.4, 0.7)), [0.4, 0.7])


def test_a_turn_is_that_of_an_orientation(nominal):
    """Its sign and its size: the positions are those of the rotation that the calibration then states."""
    frame = ScanStrains(Lattice.of(nominal), turns=True)
    turn_deg = frame.turn_deg(np.array([0.0, 0.0, 0.3]))
    assert abs(turn_deg) == pytest.approx(np.degrees(0.3 / frame.lattice.lengths_A[0]))
    placed = frame.placed(nominal, removed((0.0, 0.0)), turn_deg)
    turned = AS_IT_IS.turned(turn_deg).of(nominal)
    np.testing.assert_allclose(placed.positions_A, turned.positions_A, atol=1e-9)
    assert placed.calibration.get("rotation_deg") == pytest.approx(nominal.calibration.get("rotation_deg") + turn_deg)


def test_places_that_are_reached_move_with_the_positions(nominal):
    frame = ScanStrains(Lattice.of(nominal), turns=True)
    reach = replace(nominal, reach_A=nominal.positions_A[[0, -1]])
    placed = frame.placed(reach, removed((0.0, 0.0)), 2.0)
    np.testing.assert_allclose(placed.reach_A, placed.positions_A[[0, -1]], atol=1e-9)


def test_without_the_drift_the_rotation_is_the_only_strain(nominal):
    """The same turns, on positions without the drift that is kept; optics follow it."""
    every = ScanStrains(Lattice.of(nominal), turns=True, optics_A={"C10": -80.0})
    kept = every.with_kept_drift((0.4, 0.7))
    for own, of_every in zip(kept.directions, every.directions[2:], strict=True):
        np.testing.assert_array_equal(own.strain, of_every.strain)
        assert own.aberrations_A == of_every.aberrations_A
    start = kept.point_of((0.4, 0.7))
    assert kept.turn_deg(start) == pytest.approx(0.0) and kept.drift_A(start) == (0.4, 0.7)
    point = np.add(start, [0.3, 5.0])
    assert kept.turn_deg(point) == pytest.approx(every.turn_deg(np.array([0.4, 0.7, *point])))
    assert kept.optics_at(point) == {"C10": -75.0} and kept.are_possible(point)
    assert kept.turn_uncertainty_deg(np.diag([0.04, 9.0])) == pytest.approx(np.degrees(0.2 / kept.lattice.lengths_A[0]))


@pytest.mark.parametrize(
    ("falls", "turns", "alone"),
    [
        ((0.0, 0.0, 9.0, 0.0), True, True),
        ((3.0, 2.0, 9.0, 9.0), True, True),
        ((6.0, 0.0, 9.0, 0.0), True, False),
        ((0.0, 9.0, 0.0), False, False),
    ],
)
def test_slopes_are_of_the_rotation_if_they_show_no_drift_beyond_it(nominal, falls, turns, alone):
    strains = ScanStrains(Lattice.of(nominal), turns=turns, optics_A={"C10": -80.0})
    assert strains.are_of_rotation(Slopes(np.array(falls), np.eye(len(falls)), optics=1)) is alone


def test_a_shear_that_the_rotation_explains_is_of_the_rotation(nominal):
    strains = ScanStrains(Lattice.of(nominal), turns=True)
    common = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.9], [0.0, 0.9, 1.0]])
    assert strains.are_of_rotation(Slopes(np.array([0.0, 9.0, 10.0]), common))
    assert not strains.are_of_rotation(Slopes(np.array([0.0, 9.0, 5.0]), common))


def test_the_uncertainty_of_the_turn_is_of_the_rotation_less_half_the_shear():
    lattice = Lattice((16, 16), np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    frame = ScanStrains(lattice, turns=True)
    expected = np.degrees(np.sqrt(0.25 * 0.04 + 0.01) / 16)
    assert frame.turn_uncertainty_deg(np.diag([9.0, 0.04, 0.01])) == pytest.approx(expected)
    assert ScanStrains(lattice, turns=False).turn_uncertainty_deg(np.eye(2)) == 0.0


@pytest.mark.parametrize(
    ("origin", "tied", "turns"),
    [
        (Origin.ESTIMATED, {}, True),
        (Origin.UNDECIDED, {}, True),
        (Origin.GIVEN, {}, False),
        (Origin.ESTIMATED, {"start_object": "object.h5"}, False),
        (Origin.ESTIMATED, {"start_positions": "positions.npy"}, False),
        (Origin.ESTIMATED, {"start_probe": "probe.h5"}, False),
    ],
)
def test_the_rotation_is_a_parameter_if_nothing_ties_it(moving, origin, tied, turns):
    calibration = moving.dataset.calibration
    rotation = replace(calibration.entries["rotation_deg"], origin=origin)
    dataset = replace(moving.dataset, calibration=calibration.having(rotation_deg=rotation))
    assert ScanStrains.of(dataset, Preset.from_mapping(tied)).turns is turns
    assert ScanStrains.of(dataset, Preset(), keeps_rotation=True).turns is False


def test_positions_without_a_lattice_have_no_strains(moving):
    scattered = moving.dataset.positions_A + np.random.default_rng(0).normal(0, 0.3, moving.dataset.positions_A.shape)
    assert ScanStrains.of(replace(moving.dataset, positions_A=scattered), Preset()) is None


def test_a_scan_does_not_drift_by_much_of_its_length(nominal):
    frame = ScanStrains(Lattice.of(nominal), False)
    longest_A = MOST_STRAIN * frame.lattice.lengths_A[0]
    assert frame.are_possible(np.array([0.6, -0.79]) * longest_A)
    assert not frame.are_possible(np.array([0.61, -0.8]) * longest_A)


OPTICS = {"C10": -120.0, "C12a": 3.0, "C12b": 0.0}


def with_optics(nominal, origin, **changes):
    found = {name: Quantity(value, origin) for name, value in OPTICS.items()}
    return replace(nominal, calibration=nominal.calibration.having(**{**found, **changes}))


@pytest.mark.parametrize(
    ("update", "origin", "names"),
    [
        ({}, Origin.ESTIMATED, ["C10", "C12a", "C12b"]),
        ({}, Origin.GIVEN, []),
        ({"scan_defocus": False}, Origin.ESTIMATED, []),
        ({"update_probe": False}, Origin.ESTIMATED, []),
    ],
)
def test_optics_are_parameters_if_nobody_stated_them(moving, update, origin, names):
    strains = ScanStrains.of(with_optics(moving.dataset, origin), Preset(**update))
    assert list(strains.optics_A) == names
    assert [list(each.aberrations_A) for each in strains.directions if each.is_optics] == [[name] for name in names]
    started = ScanStrains.of(with_optics(moving.dataset, origin), Preset(**update), keeps_optics=True)
    assert not started.optics_A, "of a start"
    turned = ScanStrains.of(with_optics(moving.dataset, origin), Preset(**update), keeps_rotation=True)
    assert list(turned.optics_A) == names


@pytest.mark.parametrize(
    ("defocus", "slices", "hide"),
    [(0.55, 1, True), (-0.55, 1, True), (0.45, 1, False), (-0.45, 1, False), (0.0, 3, True)],
)
def test_optics_of_one_slice_in_focus_stay(moving, defocus, slices, hide):
    focus_A = moving.dataset.calibration.depth_of_focus_A
    preset = Preset(num_slices=slices, total_thickness_A=30.0 if slices > 1 else None)
    dataset = with_optics(moving.dataset, Origin.ESTIMATED, C10=Quantity(defocus * focus_A, Origin.ESTIMATED))
    assert bool(ScanStrains.of(dataset, preset).optics_A) is hide
    below = dataset.calibration.having(depth_A=Quantity(0.3 * focus_A, Origin.ESTIMATED))
    deeper = ScanStrains.of(replace(dataset, calibration=below), preset)
    assert bool(deeper.optics_A) is (slices > 1 or abs(defocus + 0.3) > 0.5)


def test_a_stated_defocus_leaves_the_astigmatism_a_parameter(moving):
    dataset = with_optics(moving.dataset, Origin.ESTIMATED, C10=Quantity(-110.0, Origin.GIVEN))
    strains = ScanStrains.of(dataset, Preset())
    assert strains.optics_A == {"C12a": 3.0, "C12b": 0.0}


@pytest.mark.parametrize("turns", [False, True])
def test_a_point_holds_drift_turn_and_changes_of_the_optics(moving, turns):
    strains = ScanStrains(Lattice.of(moving.dataset), turns, OPTICS)
    assert len(strains.directions) == len(strains.point_of((0.4, 0.7))) == (6 if turns else 5)
    assert strains.optics_at(strains.point_of((0.4, 0.7))) == OPTICS
    assert strains.optics_at(strains.without_turn((0.4, 0.7))) == OPTICS
    point = np.array([0.4, 0.7, *([0.5] if turns else []), 1.0, -2.0, 3.0])
    assert strains.optics_at(point) == pytest.approx({"C10": -119.0, "C12a": 1.0, "C12b": 3.0})
    assert strains.drift_A(point) == (0.4, 0.7)
    alone = ScanStrains(strains.lattice, turns)
    assert strains.turn_deg(point) == alone.turn_deg(point[: 3 if turns else 2])
    covariance = np.diag(np.arange(1.0, 7.0))
    assert strains.turn_uncertainty_deg(covariance) == alone.turn_uncertainty_deg(covariance[:3, :3])
