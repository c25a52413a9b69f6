"""The part of a scan that is kept to recognise its place."""

from dataclasses import replace

import numpy as np
from repeated_maps import place, scanned

from ptylive.engine.repeats.repeated_scan import RepeatedScan, dose_per_A2
from ptylive.schema import Detector, Scan, ScanHeader
from ptylive.schema.optics import Optics

HEADER = ScanHeader(
    "uid", "grain", 16, Scan(shape=(4, 4), step_A=(0.5, 0.4)), Optics(energy_eV=80e3), Detector(shape=(8, 8))
)
MEAN = np.full((8, 8), 2.0)


def test_of_the_maps_that_know_their_noise_the_better_is_taken():
    obf = scanned(place(1), (0, 0), 0.5, 1).live_map
    found = RepeatedScan.of(HEADER, [replace(obf, name="adf"), replace(obf, name="tcbf"), obf], MEAN)
    assert (found.uid, found.series, found.live_map) == ("uid", "grain", obf)
    assert found.optics == (80e3, 0.0, 0.5, 0.4)
    assert (found.dose, found.unit) == (128 / 0.2, "counts")
    assert RepeatedScan.of(HEADER, [replace(obf, name="adf")]) is None


def test_the_dose_is_in_electrons_where_a_count_is_known():
    known = replace(HEADER, detector=HEADER.detector.model_copy(update={"counts_per_electron": 4.0}))
    assert dose_per_A2(known, MEAN) == (32 / 0.2, "e")
    assert dose_per_A2(known, None) == (None, "e")
    assert dose_per_A2(replace(HEADER, scan=Scan(shape=(4, 4))), MEAN) == (None, "counts")


def test_only_the_same_step_size_and_optics_are_alike():
    one = scanned(place(1), (0, 0), 0.5, 1)
    assert one.is_like(replace(one, optics=(80e3 * (1 + 1e-5), 25.0)))
    for other in (
        replace(one, optics=(80e3, 25.1)),
        replace(one, optics=(80e3,)),
        replace(one, live_map=replace(one.live_map, sampling_A=(0.5, 0.51))),
        replace(one, live_map=replace(one.live_map, sampling_A=None)),
        replace(one, live_map=replace(one.live_map, data=one.live_map.data[:32])),
        replace(one, live_map=replace(one.live_map, name="tcbf")),
    ):
        assert not one.is_like(other)


def test_why_it_cannot_be_told():
    one = scanned(place(1), (0, 0), 0.5, 1)
    assert one.problem == ""
    tiny = replace(one, live_map=replace(one.live_map, data=np.zeros((8, 80), np.float32)))
    assert tiny.problem == "a map of 8 x 80 pixels is too small to compare, less than 16 on a side"
    huge = replace(one, live_map=replace(one.live_map, data=np.broadcast_to(np.float32(0), (2048, 2049))))
    assert huge.problem == "a map of 2048 x 2049 pixels is too large to compare"
    assert "noise" in replace(one, live_map=replace(one.live_map, buried=True)).problem
    assert replace(one, live_map=replace(one.live_map, sampling_A=None)).problem
