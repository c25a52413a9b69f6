"""The parallax settings of the map `tcbf`: its shifts are measured on images, and everything else is unchanged."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.engine.calibrate.alignment.image_shifts import Reference
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.live.aligned_images import alignment_of
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.schema import MetadataError
from ptylive.schema.metadata import overlay

SIDE = 24
WRONG = {"C10": -130.0, "C12a": 0.0, "C12b": 0.0, "rotation_deg": 0.0}
"""Wrong values for a scan with 150 Å of underfocus; 20 Å are 1.3 times what shifts the rim's phase by pi / 4."""


@pytest.fixture(scope="module")
def scan():
    return WeakPhaseScan.make({"C10": -150.0}, n=SIDE, strength=0.05)


def made(scan, given, **settings):
    named = {f"tcbf.{name}": value for name, value in settings.items()}
    header = overlay(scan.header(lies_still=True), given)
    return {
        m.name: m for m in reconstruct(header, lambda: batches(scan.patterns), ["tcbf", "obf"], settings=named)[1].maps
    }


def test_images_find_the_focus_that_the_calibration_has_wrong():
    scan = WeakPhaseScan.make({"C10": -150.0}, n=32, strength=0.05)  # a smaller field leaves an error of 17
    plain, aligned = made(scan, WRONG), made(scan, WRONG, align_order=1, align_free=1)
    assert abs(aligned["tcbf"].settings["aligned_C10"] + 150) < 15, "the calibration is wrong by 20"
    assert aligned["tcbf"].settings["aligned_C10_error"] > 0
    assert aligned["tcbf"].settings["aligned_rotation_deg"] == 0.0, "given, so forced"
    right = made(scan, {**WRONG, "C10": -150.0})["tcbf"].data

    def like(one):
        return np.corrcoef(one.ravel(), right.ravel())[0, 1]

    assert like(aligned["tcbf"].data) > like(plain["tcbf"].data)
    np.testing.assert_array_equal(aligned["obf"].data, plain["obf"].data, "other maps go by the calibration")


def test_every_knob_reaches_the_alignment(scan):
    engine, _ = reconstruct(scan.header(lies_still=True), lambda: batches(scan.patterns), ["bf"])
    conditions = ImagingConditions.of(
        engine.calibration, engine.store.reduction.basis, (SIDE, SIDE), (SIDE, SIDE), (scan.step_A,) * 2,
        {"tcbf.align_order": 3, "tcbf.align_bin_px": 4.0, "tcbf.align_reference": 1, "tcbf.align_rounds": 6,
         "tcbf.align_free": 1},
    )  # fmt: skip
    found = alignment_of(conditions)
    assert (found.order, found.bin_px, found.reference, found.rounds, found.near) == (
        3,
        4.0,
        Reference.CENTRE,
        6,
        False,
    )
    default = alignment_of(replace(conditions, settings={"tcbf.align_order": 1}))
    assert (default.bin_px, default.reference, default.rounds, default.near) == (None, Reference.MEAN, 3, True)


def test_what_cannot_be_aligned_costs_that_map_only(scan):
    with pytest.raises(MetadataError, match="aligned images exclude each other"):
        made(scan, WRONG, align_order=1, depth_A=20.0)


def test_while_frames_come_the_map_waits_for_rows():
    scan = WeakPhaseScan.make({"C10": -150.0}, n=16, strength=0.05)
    engine = LiveEngine(scan.header(lies_still=True), methods=("tcbf",), settings={"tcbf.align_order": 1})
    for batch in batches(scan.patterns[: 4 * scan.n]):
        engine.add(batch)
    early = engine.refresh()
    assert "too few" in early.missing.get("tcbf", "") or not early.maps
    for batch in batches(scan.patterns):
        engine.add(batch)
    (tcbf,) = [one for one in engine.finish(lambda: batches(scan.patterns)).maps if one.name == "tcbf"]
    assert "aligned_C10" in tcbf.settings
