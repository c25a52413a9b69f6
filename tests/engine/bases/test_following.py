"""Masks that follow the beam: where they move, when they stay, and that vectors are those of patterns moved back."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.bases.choice import make_basis, parse_basis
from ptylive.engine.bases.compressor import EXTRAS, Compressor
from ptylive.engine.bases.field import DetectorField
from ptylive.engine.bases.following import FollowingCompressor, GivenWander, TrackedWander, at_place, wander_of
from ptylive.engine.descan import moved
from ptylive.schema import Basis, Detector, Optics, Scan, ScanHeader
from ptylive.schema.basis import MOVED
from ptylive.schema.detector import Descan

SCAN = Scan(shape=(24, 32), step_A=0.5)
SIDE, RADIUS = 32, 8.0
CENTER = (15.5, 15.5)
FIELD = DetectorField(CENTER, RADIUS, np.ones((SIDE, SIDE), dtype=bool))
POINTS = np.arange(24 * 32)


def header(**detector: object) -> ScanHeader:
    told = Detector(shape=(SIDE, SIDE), dtype="<f4", **detector)
    return ScanHeader("scan-1", "scan-1", len(POINTS), SCAN, Optics(), told, Basis(), {})


def discs(descan: Descan) -> np.ndarray:
    """A soft disc with some structure, placed by the descan at each scan point."""
    y, x = np.indices((SIDE, SIDE)) - CENTER[0]
    disc = 50 / (1 + np.exp(4 * (np.hypot(y, x) - RADIUS + 1))) * (1 + 0.05 * x / RADIUS)
    places = descan.at_points(POINTS, (24, 32))
    return moved(np.repeat(disc[None].astype(np.float32), len(POINTS), 0), -places)


def heard(place: np.ndarray) -> np.ndarray:
    """The place predicted for each line, line by line, once that line has been measured."""
    wander, found = TrackedWander(SCAN), []
    wander.refer_to((0.0, 0.0))
    for line in POINTS.reshape(SCAN.shape):
        wander.take(line, np.full(32, 100.0), place[line])
        found.append(wander.places(line))
    return np.concatenate(found)


@pytest.mark.parametrize("seed", range(4))
def test_a_slope_is_followed_through_the_deflections_of_atoms(seed: int) -> None:
    rng = np.random.default_rng(seed)
    descan = Descan.of(rng.uniform(-6, 6, 4).tolist())
    place = descan.at_points(POINTS, (24, 32)) + rng.normal(0, 0.5, (len(POINTS), 2))
    left = (heard(place) - descan.at_points(POINTS, (24, 32)))[4 * 32 :]
    print(seed, descan.numbers[:2], np.sqrt((left**2).mean(axis=0)))
    assert np.sqrt((left**2).mean()) < 0.25


def test_what_was_long_ago_is_forgotten() -> None:
    """The wander is a bow over the rows, which no slope can follow."""
    descan = Descan.of([0.0, 0.0, 0.0, 6.0, 0.0, 0.0, 0.0, 0.0, -6.0, 0.0])
    place = descan.at_points(POINTS, (24, 32))
    assert np.sqrt(((heard(place) - place)[4 * 32 :] ** 2).mean()) < 1.0


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_followed_where_only_atoms_deflect(seed: int) -> None:
    place = np.random.default_rng(seed).normal(0, 1.0, (len(POINTS), 2))
    assert not heard(place)[2 * 32 :].any()


def test_empty_patterns_and_flyback_say_nothing() -> None:
    wander = TrackedWander(SCAN)
    wander.refer_to((3.0, 3.0))
    wander.take(np.array([0, 1, -1]), np.array([0.0, 0.0, 9.0]), np.full((3, 2), 50.0))
    assert not wander.places(POINTS).any()


def test_another_place_to_refer_to_keeps_what_was_heard() -> None:
    one, other = TrackedWander(SCAN), TrackedWander(SCAN)
    one.refer_to((0.0, 0.0))
    other.refer_to((-4.0, 2.0))
    place = np.random.default_rng(1).normal([1.0, -2.0], 0.2, (64, 2))
    for wander in (one, other):
        wander.take(POINTS[:64], np.ones(64), place)
    one.refer_to((-4.0, 2.0))
    assert one.places(POINTS) == pytest.approx(other.places(POINTS))
    assert one.places(POINTS[:1])[0] == pytest.approx([5.0, -4.0], abs=0.3)  # two frames show a beam at rest


@pytest.mark.parametrize("frames_at_a_time", quick_first([64, 7]))
def test_vectors_are_those_of_patterns_moved_back(frames_at_a_time: int) -> None:
    descan = Descan.of([3.3, -1.4, 1.2, 2.1])
    compressor = Compressor(make_basis(parse_basis("zernike:15+1"), FIELD, None), FIELD)
    made, frames = FollowingCompressor.of(compressor, SCAN, GivenWander(descan, SCAN)), discs(descan)
    parts = np.array_split(POINTS, len(POINTS) // frames_at_a_time)
    vectors = np.concatenate([made.vectors(part, frames[part]) for part in parts])
    words = made.described(header()).basis
    assert words.extra == (*EXTRAS, *MOVED)
    steps = words.moved_px(vectors)
    assert np.array_equal(4 * steps, np.rint(4 * steps))
    assert np.abs(steps - descan.at_points(POINTS, (24, 32))).max() <= 0.125
    wanted = compressor.vectors(moved(frames, steps))
    coefficients = slice(0, 15)
    scale = np.abs(wanted[:, coefficients]).max()
    assert np.abs(vectors[:, coefficients] - wanted[:, coefficients]).max() < 3e-3 * scale  # rings outside the masks
    exact = compressor.vectors(frames)[:, 16:19]
    found = words.columns(vectors, ("sum", "k_row", "k_col"))
    assert found == pytest.approx(exact, rel=1e-5, abs=0.1), "as recorded: float32 sums of other batches"


def test_a_beam_that_lies_still_costs_nothing_of_the_vectors() -> None:
    compressor = Compressor(make_basis(parse_basis("zernike:15+1"), FIELD, None), FIELD)
    frames = discs(Descan.of([0]))[:64]
    made = FollowingCompressor.of(compressor, SCAN, wander_of(header()))
    vectors = made.vectors(POINTS[:64], frames)
    assert np.array_equal(vectors[:, :-2], compressor.vectors(frames))
    assert not vectors[:, -2:].any()


def test_first_frames_are_moved_to_their_mean() -> None:
    descan = Descan.of([0.0, 6.0, 0.0, 0.0])  # within a line
    frames = discs(descan)[:128]
    still = at_place(header(), wander_of(header()), POINTS[:128], frames)
    rows = [np.average(np.arange(SIDE), weights=pattern.sum(axis=1)) for pattern in still]
    assert np.ptp(rows[64:]) < 1.3, "whole pixels"
    assert at_place(replace(header(), scan=Scan()), wander_of(header()), POINTS[:128], frames) is frames


def test_without_the_exact_sums_nothing_is_followed() -> None:
    compressor = Compressor(make_basis(parse_basis("zernike:15+1"), FIELD, None), FIELD, extras=("sum",))
    assert FollowingCompressor.of(compressor, SCAN, TrackedWander(SCAN)) is compressor
    assert FollowingCompressor.of(replace(compressor, extras=EXTRAS), Scan(), TrackedWander(Scan())).extras == EXTRAS
