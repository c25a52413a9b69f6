"""The live engine on a device as strict as cupy: the CPU's maps, live results equal to offline ones, and a way back."""

import gc
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from rounding import MAP_ROUNDING
from strict_device import DeviceArray, device
from synthetic import WeakPhaseScan, batches

from ptylive.engine.backend.device import ArrayDevice
from ptylive.engine.backend.imaging.open import MapDevice
from ptylive.engine.bases.choice import make_basis, parse_basis
from ptylive.engine.bases.compressor import Compressor
from ptylive.engine.bases.field import DetectorField
from ptylive.engine.imaging.accumulation import device_trial
from ptylive.engine.imaging.accumulation.device_trial import DeviceTrial
from ptylive.engine.live.engine import LiveEngine, reconstruct

METHODS = ("bf", "com", "obf", "wdd", "tcbf", "ssb")


def on_device(free=lambda: math.inf, least=0):
    return MapDevice(ArrayDevice(device, free), "", least)


@cache
def scan():
    made = WeakPhaseScan.make({"C10": -60.0}, n=20, strength=0.05)
    made.patterns = np.random.default_rng(0).poisson(made.patterns * 20000).astype(np.uint16)
    return made


def header(**words):
    return scan().header(dtype="<u2", lies_still=True, **words)


@cache
def by_processor():
    return maps(reconstruct(header(), lambda: batches(scan().patterns), METHODS)[1])


def maps(rendering):
    return {m.name: m.data for m in rendering.maps}


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, data in expected.items():
        assert isinstance(found[name], np.ndarray)
        assert np.abs(found[name] - data).max() <= MAP_ROUNDING * np.abs(data).max(), name


EVERYWHERE = {"reduction": "gpu", "transforms": "gpu", "filters": "gpu"}


def test_a_device_makes_the_maps_of_the_processor():
    engine, rendering = reconstruct(header(), lambda: batches(scan().patterns), METHODS, on_device())
    assert engine.computed_on == EVERYWHERE
    assert_same(maps(rendering), by_processor())


def test_live_equals_offline_on_a_device():
    """Frames arrive in any order, with refreshes in between, and some are lost."""
    order = np.random.default_rng(1).permutation(scan().n ** 2)[:390]
    live = LiveEngine(header(), methods=METHODS, device=on_device())
    for batch in batches(scan().patterns, order, 61):
        live.add(batch)
        live.refresh()
    found = live.finish(lambda: batches(scan().patterns, np.sort(order)))
    assert live.computed_on == EVERYWHERE
    offline = reconstruct(header(), lambda: batches(scan().patterns, np.sort(order)), METHODS, on_device())[1]
    assert_same(maps(found), maps(offline))


def test_a_refresh_sends_only_what_is_new(monkeypatch):
    live = LiveEngine(header(), methods=["obf"], device=on_device())
    live.add(next(batches(scan().patterns, size=100)))
    live.refresh()
    rows = live.evaluation.rows
    live.add(next(batches(scan().patterns, np.arange(100, 120), 20)))  # one row
    transformed = []
    monkeypatch.setattr(rows, "_put", lambda at, values: transformed.append((at.tolist(), values.nbytes)))
    live.refresh()
    assert transformed == [([5], 20 * live.store.bins.shape[1] * 4)]


def test_small_batches_stay_on_the_processor():
    frame = scan().patterns[0].nbytes
    live = LiveEngine(header(), methods=["bf", "obf"], device=on_device(least=50 * frame))
    for size, first in ((300, 0), (20, 300), (80, 320)):
        live.add(next(batches(scan().patterns, np.arange(first, first + size), size)))
    found = maps(live.finish())
    why = f"batches below {50 * frame / 2**20:g} MiB"
    assert live.computed_on["reduction"] == f"gpu, 20 of 400 frames on the cpu ({why})"
    assert np.array_equal(found["bf"], by_processor()["bf"]), "whole numbers are the same on both, to the last bit"


@pytest.mark.parametrize("faster", ["gpu", "cpu"])
def test_who_reduces_frames_faster_goes_on_after_a_few_batches_of_each(monkeypatch, faster):
    clock = iter(range(1000))
    slow = {"gpu": 1, "cpu": 1, ("cpu", "gpu")[faster == "cpu"]: 2}
    monkeypatch.setattr(device_trial, "perf_counter", lambda: next(clock))
    turns, timed = [], DeviceTrial.timed

    def slower(trial, side, frames):
        turns.append(side)
        if slow[side] == 2:
            frames /= 2
        return timed(trial, side, frames)

    monkeypatch.setattr(DeviceTrial, "timed", slower)
    live = LiveEngine(header(), methods=["bf", "obf"], device=replace(on_device(), on_trial=True))
    for first in range(0, 400, 40):
        live.add(next(batches(scan().patterns, np.arange(first, first + 40), 40)))
    found = maps(live.finish())
    assert turns == ["gpu", "cpu"] * 3
    words = {
        "gpu": "gpu, 120 of 400 frames on the cpu (for comparison)",
        "cpu": "cpu (faster here: 25000.0 µs a frame, 50000.0 on the GPU)",
    }
    assert live.computed_on["reduction"].startswith(words[faster])
    assert np.array_equal(found["bf"], by_processor()["bf"])
    np.testing.assert_array_equal(live.store.frame_sum, scan().patterns.sum(axis=0, dtype=float).ravel())


def test_what_does_not_fit_is_made_on_the_processor_and_said(caplog):
    engine, rendering = reconstruct(header(), lambda: batches(scan().patterns), METHODS, on_device(lambda: 2e5))
    assert engine.computed_on["reduction"] == "gpu"
    assert engine.computed_on["filters"].startswith("cpu (transforms of the coefficients need 0.")
    assert "maps are made on the CPU from now on: transforms of the coefficients need" in caplog.text
    assert_same(maps(rendering), by_processor())


@pytest.mark.parametrize("part", ["reduction", "filters"])
def test_a_device_that_fails_in_the_middle_costs_nothing_else(monkeypatch, caplog, part):
    live = LiveEngine(header(), methods=METHODS, device=on_device())
    whole = list(batches(scan().patterns, size=100))
    for batch in whole[:2]:
        live.add(batch)
        live.refresh()

    def lost(*_args, **_given):
        raise RuntimeError("cudaErrorECCUncorrectable: uncorrectable\nECC error encountered")

    where = {"reduction": "reduction_arrays.ArrayReduction._bins", "filters": "transform_arrays.ArrayTransforms.planes"}
    monkeypatch.setattr(f"ptylive.engine.backend.imaging.{where[part]}", lost)
    for batch in whole[2:]:
        live.add(batch)
        live.refresh()
    monkeypatch.undo()
    found = live.finish(lambda: batches(scan().patterns))
    why = "cudaErrorECCUncorrectable: uncorrectable ECC error encountered"
    said = {"reduction": f"gpu, 200 of 400 frames on the cpu ({why})", "filters": f"cpu ({why})"}[part]
    assert live.computed_on[part] == said
    assert why in caplog.text
    assert_same(maps(found), by_processor())
    assert live.store.total_frames == 400


def test_frames_of_one_point_are_added_up():
    twice = np.repeat(scan().patterns, 2, axis=0)
    described = header(frames=len(twice), repeats=2)
    engine, found = reconstruct(described, lambda: batches(twice), METHODS, on_device())
    assert engine.computed_on == EVERYWHERE
    assert_same(maps(found), by_processor())


def test_points_off_the_grid_are_spread_on_the_processor():
    made = []
    for chosen in (on_device(), MapDevice()):
        live = LiveEngine(header(), methods=["obf"], device=chosen)
        for batch in batches(scan().patterns):
            live.add(batch)
        nominal = np.stack(np.indices((20, 20)), -1).reshape(-1, 2) * scan().step_A
        live.place(nominal + np.random.default_rng(0).normal(scale=0.05, size=nominal.shape))
        made.append(maps(live.finish()))
        words = live.computed_on
    assert_same(*made)
    assert words == {"reduction": "cpu", "transforms": "cpu", "filters": "cpu"}


def test_coefficients_are_not_sent_to_and_fro():
    field = DetectorField((10, 10), 6.0, np.ones((20, 20), bool))
    choice = parse_basis("zernike:15+1")
    compressor = Compressor(make_basis(choice, field, scan().patterns), field, choice.square_root)
    described, vectors = compressor.described(header()), compressor.vectors(scan().patterns)
    engine, found = reconstruct(described, lambda: batches(vectors), ["obf"], on_device())
    said = {"reduction": "cpu (coefficients are only copied)", "transforms": "gpu", "filters": "gpu"}
    assert engine.computed_on == said
    assert_same(maps(found), maps(reconstruct(described, lambda: batches(vectors), ["obf"])[1]))


def on_the_device():
    gc.collect()
    return sum(type(each) is DeviceArray for each in gc.get_objects())  # isinstance would evaluate dead weak proxies


def test_a_scan_that_is_done_leaves_nothing_on_the_device():
    """Engines of past scans are kept, and a refinement needs the memory."""
    released, before = [], on_the_device()
    peak = int(np.median(scan().patterns.max(axis=(1, 2))))
    full = replace(header(), detector=header().detector.model_copy(update={"saturation_value": float(peak)}))
    there = ArrayDevice(device, lambda: math.inf, release=lambda: released.append(on_the_device()))
    live = LiveEngine(full, methods=["bf", "obf"], device=MapDevice(there, "", 0))
    for batch in batches(scan().patterns):
        live.add(batch)
    live.refresh()
    sums, frames = live.store.frame_sum, live.store.saturated_frames
    assert 100 < frames < 400
    assert on_the_device() > before
    live.finish()
    assert released == [before], "given back when nothing is there any more"
    assert np.array_equal(live.store.frame_sum, sums)
    assert live.store.saturated_frames == frames
    assert live.computed_on == EVERYWHERE
    late = scan().patterns[:50]
    live.store.add(next(batches(late)))
    live.store.leave_device()
    assert np.array_equal(live.store.frame_sum, sums + np.minimum(late, peak).reshape(50, -1).sum(axis=0))
