"""Frames take precedence over calibrations and filters, on the processor too. Engines use the chosen device."""

import math
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from strict_device import device
from synthetic import WeakPhaseScan, batches

from ptylive.engine.backend.device import ArrayDevice
from ptylive.engine.backend.imaging.open import MapDevice
from ptylive.engine.calibrate import bad_pixels
from ptylive.engine.calibrate.bad_pixels import without_hot_pixels
from ptylive.engine.imaging.virtual_detectors import DetectorBank, VirtualDetector
from ptylive.engine.memory import Scratch
from ptylive.schema.pattern.undistorted import Undistorted
from ptylive.server.session import live as live_module
from ptylive.server.session.live import BACKGROUND_NICENESS, LiveThread, Resources, find_device, lower_priority
from ptylive.server.session.subscriptions import Subscriptions
from ptylive.streamer.events import ArmEvent, EndEvent


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_only_the_thread_that_builds_filters_steps_back() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    with ThreadPoolExecutor(1, initializer=lower_priority) as builders:
        assert builders.submit(niceness).result() == max(before, BACKGROUND_NICENESS)
    assert niceness() == before


class Items:
    """A ring that holds a scan."""

    ring_fill = 0.0

    def __init__(self, *items):
        self.items = list(items)

    @property
    def finished(self):
        return not self.items

    def take(self, _timeout_s):
        return self.items.pop(0)


def run_to_its_end(live):
    """Run a thread whose ring ends, however long a busy machine takes to compile."""
    live.start()
    live.join(threading.TIMEOUT_MAX)


@pytest.mark.parametrize("least", [0, 10**9])
def test_maps_are_made_on_the_device_that_was_chosen_and_it_is_said(least):
    made = WeakPhaseScan.make({"C10": -60.0}, n=16, strength=0.05)
    header = made.header(dtype="<u2")
    frames = np.random.default_rng(0).poisson(made.patterns * 20000).astype(np.uint16)
    ended, published = [], []
    publisher = SimpleNamespace(publish=lambda topic, payload: published.append(payload.get("name", topic)))
    there = MapDevice(ArrayDevice(device, lambda: math.inf), "", least)
    items = Items(ArmEvent(header), *batches(frames), EndEvent("synthetic", "complete", None))
    live = LiveThread(
        items,
        publisher,
        lambda given: given,
        lambda *_scan: None,
        lambda scan, _reason: ended.append(scan),
        Subscriptions(),
        Resources(Scratch(), lambda: there, lambda: {"obf.noise": 2.0}),
    )
    run_to_its_end(live)
    (scan,) = ended
    assert not scan.problem
    assert {"bf", "calibration"} <= set(published)
    [obf] = [one for one in scan.engine.finish().maps if one.name == "obf"]  # its filters may not have been ready
    assert obf.settings["noise"] == scan.map_settings["obf.noise"] == 2.0, "a scan begins with what is set"
    why = f"cpu (batches below {least / 2**20:g} MiB)"
    assert scan.computed_on == {"reduction": why if least else "gpu", "transforms": "gpu", "filters": "gpu"}
    assert scan.backend == "gpu"


def test_a_scan_whose_live_maps_fail_is_finished_all_the_same(monkeypatch):
    made = WeakPhaseScan.make({"C10": -60.0}, n=16, strength=0.05)

    def fail(*_given):
        raise RuntimeError("planted")

    monkeypatch.setattr(LiveThread, "_rendered", fail)
    ended = []
    live = LiveThread(
        Items(ArmEvent(made.header()), *batches(made.patterns), EndEvent("synthetic", "complete", None)),
        SimpleNamespace(publish=lambda *_given: None),
        lambda given: given,
        lambda *_scan: None,
        lambda scan, reason: ended.append((scan.ended, reason)),
        Subscriptions(),
        Resources(Scratch(), lambda: MapDevice(None, "", 0)),
    )
    run_to_its_end(live)
    assert ended == [("complete", "complete")]


def test_a_gpu_that_was_insisted_on_is_missed_aloud(monkeypatch, caplog):
    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "no CUDA device responds")
    assert find_device("auto", 0).words == "cpu (no CUDA device responds)"
    assert not caplog.text
    assert find_device("gpu", 0).words == "cpu (no CUDA device responds)"
    assert "no GPU to make maps on: no CUDA device responds; they are made on the CPU" in caplog.text


@pytest.mark.parametrize("wait_s", [1e9, 0.0], ids=["all wait", "nothing waits"])
def test_hot_pixels_of_a_distorted_scan_are_those_that_its_recording_shows(monkeypatch, wait_s):
    """A pixel that is hot in few of the first frames: one batch does not reveal it, the examined frames do.

    What was shown before is then redrawn.
    """
    monkeypatch.setattr(bad_pixels, "LOOKED_AT", 96)
    monkeypatch.setattr(live_module, "WAIT_S", wait_s)
    made = WeakPhaseScan.make({"C10": -60.0}, n=16, strength=0.05)
    header = made.header(dtype="<u2")
    header = replace(header, detector=header.detector.model_copy(update={"distortion": (0.002, 0, 0, -0.002)}))
    frames = np.random.default_rng(0).poisson(made.patterns * 20000).astype(np.uint16)
    hot = (2, 3)
    frames[40:, hot[0], hot[1]] = 2000
    flat = Undistorted.of(header)
    assert flat is not None
    wanted = without_hot_pixels(flat, frames[:96])
    few = without_hot_pixels(flat, frames[:32])
    assert wanted.recorded.arrays["bad_pixel_mask"][hot] and few is flat
    ended, begun = [], []

    def watched(scan, _beside):
        scan.detectors = DetectorBank(scan.header)
        scan.detectors.use([VirtualDetector(name="all", center_px=(7.5, 7.5), inner_px=0.0, outer_px=30.0)])
        begun.append(scan.engine)

    live = LiveThread(
        Items(ArmEvent(header), *batches(frames, size=32), EndEvent("synthetic", "complete", None)),
        SimpleNamespace(publish=lambda *_given: None),
        lambda given: given,
        watched,
        lambda scan, _reason: ended.append(scan),
        Subscriptions(),
        Resources(Scratch(), MapDevice, lambda: {}),
    )
    run_to_its_end(live)
    (scan,) = ended
    assert not scan.problem
    np.testing.assert_array_equal(scan.flat.weights, wanted.weights)
    np.testing.assert_allclose(scan.engine.mean_pattern, wanted.frames(frames).mean(axis=0), rtol=1e-5)
    assert scan.engine.store.total_frames == len(frames)
    assert (scan.engine is begun[0]) == (wait_s > 0)
    mask = scan.header.arrays["bad_pixel_mask"]
    np.testing.assert_array_equal(mask, wanted.header.arrays["bad_pixel_mask"])
    (summed,) = scan.detectors.maps(len(frames))
    sums = (wanted.frames(frames) * ~mask.astype(bool)).sum(axis=(1, 2))
    np.testing.assert_allclose(summed.data.ravel(), sums, rtol=1e-5)


@pytest.mark.parametrize("hot_from", [0, 64], ids=["the first show it", "they do not"])
def test_maps_of_a_slow_distorted_scan_come_before_all_frames_that_are_looked_at(monkeypatch, hot_from):
    """Every frame counts once, whether or not the first frames show what all frames show."""
    monkeypatch.setattr(live_module, "WAIT_S", 0.0)
    made = WeakPhaseScan.make({"C10": -60.0}, n=16, strength=0.05)
    header = made.header(dtype="<u2")
    header = replace(header, detector=header.detector.model_copy(update={"distortion": (0.002, 0, 0, -0.002)}))
    frames = np.random.default_rng(0).poisson(made.patterns * 20000).astype(np.uint16)
    frames[hot_from:, 2, 3] = 2000
    engines, seen, ended = [], [], []

    class Watched(Items):
        def take(self, timeout_s):
            seen.extend(scan.engine.store.total_frames for scan in engines if scan.engine.store is not None)
            return super().take(timeout_s)

    live = LiveThread(
        Watched(ArmEvent(header), *batches(frames, size=32), EndEvent("synthetic", "complete", None)),
        SimpleNamespace(publish=lambda *_given: None),
        lambda given: given,
        lambda scan, _beside: engines.append(scan),
        lambda scan, _reason: ended.append(scan),
        Subscriptions(),
        Resources(Scratch(), MapDevice, lambda: {}),
    )
    run_to_its_end(live)
    (scan,) = ended
    assert not scan.problem
    assert scan.engine.store.total_frames == len(frames)
    assert 64 in seen, "the maps begin with the frames that a disc is placed on"
    wanted = without_hot_pixels(Undistorted.of(header), frames)
    np.testing.assert_array_equal(scan.flat.weights, wanted.weights)
    np.testing.assert_allclose(scan.engine.mean_pattern, wanted.frames(frames).mean(axis=0), rtol=1e-5)


def test_a_distorted_scan_that_ends_early_has_the_frames_that_waited():
    made = WeakPhaseScan.make({"C10": -60.0}, n=16, strength=0.05)
    header = made.header(dtype="<u2")
    header = replace(header, detector=header.detector.model_copy(update={"distortion": (0.002, 0, 0, -0.002)}))
    frames = np.random.default_rng(0).poisson(made.patterns * 20000).astype(np.uint16)
    ended = []
    live = LiveThread(
        Items(ArmEvent(header), *list(batches(frames, size=32))[:3], EndEvent("synthetic", "aborted", None)),
        SimpleNamespace(publish=lambda *_given: None),
        lambda given: given,
        lambda *_scan: None,
        lambda scan, _reason: ended.append(scan),
        Subscriptions(),
        Resources(Scratch(), MapDevice, lambda: {}),
    )
    run_to_its_end(live)
    (scan,) = ended
    assert scan.engine.coverage.sum() == 96
