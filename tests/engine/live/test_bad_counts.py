"""Invalid counts, detectors without signal and optics that do not fit the detector still give maps where possible."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first
from synthetic import WeakPhaseScan, batches, correlation

from ptylive.engine.imaging.render import METHODS, check_methods
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.schema import MetadataError
from ptylive.schema.metadata import overlay


@pytest.fixture(scope="module")
def scan() -> WeakPhaseScan:
    return WeakPhaseScan.make({"C10": -60.0}, n=16)


def maps_of(header, frames):
    return reconstruct(header, lambda: batches(frames))


MORE = [(np.inf, True), (-np.inf, True), (np.nan, False), (np.inf, False)]


@pytest.fixture(scope="module")
def whole(scan: WeakPhaseScan):
    return maps_of(scan.header(), scan.patterns)[1]


@pytest.mark.parametrize(("value", "live"), quick_first([(np.nan, True), (-np.inf, False), *MORE], 2))
def test_one_count_that_is_no_number_costs_that_count(scan, whole, value, live) -> None:
    frames = scan.patterns.astype(np.float32)
    frames[37, 5, 5] = value
    if live:
        engine = LiveEngine(scan.header())
        for batch in batches(frames):
            engine.add(batch)
        rendering = engine.finish(lambda: batches(frames))
    else:
        engine, rendering = maps_of(scan.header(), frames)
    assert rendering.missing == {}
    assert {m.name for m in rendering.maps} == {m.name for m in whole.maps}
    assert engine.store.masked_counts == 1
    assert engine.calibration.get("masked_counts") == 1
    obf, clean = (next(m for m in r.maps if m.name == "obf").data for r in (rendering, whole))
    assert correlation(obf, clean) > 0.99  # one pixel of 65536 was left out


def test_frames_of_no_numbers_at_all_are_counted(scan) -> None:
    frames = np.full((256, 16, 16), np.nan, np.float32)
    engine, rendering = maps_of(scan.header(), frames)
    assert engine.store.masked_counts == frames.size
    assert all(np.isfinite(m.data).all() for m in rendering.maps)


@pytest.mark.parametrize("level", [0, 7])
def test_a_detector_that_shows_nothing_is_said_to(scan, level) -> None:
    header = scan.header(dtype="<u2")
    header = replace(header, detector=header.detector.model_copy(update={"pixel_mrad": None, "beam_center_px": None}))
    _, rendering = maps_of(header, np.full((256, 16, 16), level, np.uint16))
    assert ("the mean pattern shows no bright disc" if level else "counts in the bright field") in rendering.missing[
        "obf"
    ]
    assert "the mean pattern shows no bright disc" in rendering.missing["com"]
    assert {m.name for m in rendering.maps} == {"bf", "abf", "adf"}


def test_what_the_pixel_size_is_told_from_is_named(scan) -> None:
    header = scan.header()
    header = overlay(
        replace(header, detector=header.detector.model_copy(update={"pixel_mrad": None})), {"energy_eV": None}
    )
    _, rendering = maps_of(header, scan.patterns.astype(np.float32))
    assert rendering.missing["com"].endswith("found from the disc once energy_eV is known")


@pytest.mark.parametrize("center", [(500.0, 500.0), (-40.0, 8.0)])
def test_a_centre_off_the_detector_is_refused_and_can_be_corrected(scan, center) -> None:
    frames = scan.patterns.astype(np.float32)
    header = overlay(scan.header(), {"beam_center_px": center})
    with pytest.raises(MetadataError, match="the bright field covers no good pixel of the detector"):
        maps_of(header, frames)
    engine = LiveEngine(header)
    with pytest.raises(MetadataError, match="beam_center_px"):
        for batch in batches(frames, size=64):
            engine.add(batch)
    engine.configure(scan.header())
    assert {m.name for m in engine.finish(lambda: batches(frames)).maps} >= {"obf", "idpc"}


@pytest.mark.filterwarnings("error")
def test_an_aperture_below_a_pixel_makes_no_phase_maps(scan) -> None:
    header = overlay(scan.header(), {"convergence_semiangle_mrad": 0.1, "detector_pixel_mrad": 10.0})
    _, rendering = maps_of(header, scan.patterns.astype(np.float32))
    assert "needs a disc of at least a pixel" in rendering.missing["obf"]
    assert {m.name for m in rendering.maps} >= {"bf", "com_row"}


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 16), (16, 1), (2, 2)])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_small_scans_make_maps(scan, shape) -> None:
    points = shape[0] * shape[1]
    header = overlay(replace(scan.header(), frames=points), {"scan_shape": shape})
    _, rendering = maps_of(header, scan.patterns[:points].astype(np.float32))
    assert "obf" in {m.name for m in rendering.maps}
    assert all(np.isfinite(m.data).all() for m in rendering.maps)


def test_methods_go_by_the_names_of_their_maps_too() -> None:
    assert check_methods(["wdd_phase", " com_row", "obf"]) == ("com", "obf", "wdd")
    assert check_methods(METHODS) == METHODS
    with pytest.raises(MetadataError, match="unknown method 'strain'") as caught:
        check_methods(["strain"])
    assert "wdd_amplitude" in caught.value.hint
