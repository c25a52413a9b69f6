"""The object on the grid of the scan: its place, its rotation, and the run it belongs to."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from page_in_memory import silent_feed

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.state import RefinementState
from ptylive.dashboard.panels.live.refined_map import RefinedMap, bilinear, on_scan
from ptylive.dashboard.panels.live.shown_run import without_other_scans
from ptylive.dashboard.pictures import RawPicture, Surroundings, prepare
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.schema import Scan

PIXEL_A = 0.2


def object_of(scan: Scan, rotation_deg: float, bright: int) -> FeedView:
    """State of the feed for a refinement whose object is bright under one scan point only."""
    positions = scan.positions_A(rotation_deg)
    grid = ObjectGrid.of(positions, PIXEL_A, 16)
    y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    place = np.stack([y, x], -1) * PIXEL_A + grid.origin_A - positions[bright]
    phase = np.exp(-0.5 * (place**2).sum(axis=-1) / 0.3**2).astype(np.float32)
    picture = prepare(RawPicture("object", phase, "rad", (PIXEL_A, PIXEL_A)), 1, Surroundings())
    rotation = {"rotation_deg": {"value": rotation_deg, "origin": "given"}}
    view = silent_feed(scan={"shape": scan.shape, "step_A": scan.step_A}, calibration=rotation)._view
    told = RefinementState(uid="scan-1", run="run1", state="done")
    return replace(
        view, pictures=MappingProxyType({"object": picture}), available=frozenset({"object"}), refinement=told
    )


@pytest.mark.parametrize("seed", range(6))
def test_every_point_lies_where_the_maps_have_it(seed: int) -> None:
    draw = np.random.default_rng(seed)
    shape, step = tuple(draw.integers(12, 30, 2).tolist()), tuple(draw.uniform(0.3, 0.8, 2).round(2).tolist())
    rotation_deg, scan = float(draw.uniform(-180, 180)), None
    scan = Scan(shape=shape, step_A=step)
    row, col = int(draw.integers(2, shape[0] - 2)), int(draw.integers(2, shape[1] - 2))
    view = object_of(scan, rotation_deg, row * shape[1] + col)
    picture = RefinedMap().view(view, view).pictures["refined"]
    brightest = np.unravel_index(np.argmax(picture.data), picture.data.shape)
    found = np.array(picture.origin) + np.array(brightest) * np.array(picture.pixel)
    print(seed, shape, step, rotation_deg)
    assert found == pytest.approx([row * step[0], col * step[1]], abs=1.5 * PIXEL_A), "one pixel of grid, half of ours"
    assert picture.size == pytest.approx([shape[0] * step[0], shape[1] * step[1]]), "cropped to the scanned field"


def test_the_object_of_another_scan_is_not_shown_as_this_ones() -> None:
    view = object_of(Scan(shape=(16, 16), step_A=0.5), 0.0, 40)
    other = replace(view, state=view.state.model_copy(update={"uid": "scan-2"}))
    assert "refined" in RefinedMap().view(view, view).available
    assert "refined" not in RefinedMap().view(other, other).available
    nothing = without_other_scans(other)
    assert nothing.refinement is None
    assert "object" not in nothing.available | nothing.pictures.keys()
    running = other.state.refinement.model_copy(update={"state": "running"})
    watched = replace(other, state=other.state.model_copy(update={"refinement": running}))
    assert without_other_scans(watched) is watched, "one that runs can be watched"
    assert without_other_scans(view) is view


def test_values_between_pixels_and_beyond_the_edge() -> None:
    data = np.arange(6.0).reshape(2, 3)
    assert bilinear(data, np.array([0.5, -3.0]), np.array([1.25, 9.0])) == pytest.approx([2.75, 2.0])


def test_a_half_turn_that_the_refinement_found_turns_its_object() -> None:
    view = object_of(Scan(shape=(20, 20), step_A=0.5), 170.0, 45)
    calibration = {"rotation_deg": view.state.calibration["rotation_deg"].model_copy(update={"value": -10.0})}
    summary = view.state.refinement.model_copy(
        update={"message": "the other half turn, rotation 170.0°, C10 150 Å", "state": "done"}
    )
    state = view.state.model_copy(update={"calibration": calibration, "refinement": summary})
    view = replace(view, state=state)
    picture = RefinedMap().view(view, view).pictures["refined"]
    brightest = np.array(np.unravel_index(np.argmax(picture.data), picture.data.shape))
    assert np.array(picture.origin) + brightest * picture.pixel == pytest.approx([1.0, 2.5], abs=1.5 * PIXEL_A)


def test_fine_objects_are_brought_to_the_size_of_a_panel() -> None:
    view = object_of(Scan(shape=(16, 16), step_A=0.5), 0.0, 40)
    assert on_scan(view.pictures["object"], (5, 7), (1.0, 1.0), 0.0).shape == (5, 7)


def test_it_is_made_for_panels_that_show_it_only() -> None:
    view = object_of(Scan(shape=(16, 16), step_A=0.5), 0.0, 40)
    found = RefinedMap().view(view, view, wanted={"obf", "bf"})
    assert "refined" in found.available, "it can be chosen"
    assert "refined" not in found.pictures
    assert "refined" in RefinedMap().view(view, view, wanted={"bf", "refined:fft"}).pictures
