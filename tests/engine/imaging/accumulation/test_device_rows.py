"""Row transforms on a device agree with those of the CPU, and only changed rows are sent to the device."""

import math

import numpy as np
import pytest
from strict_device import device
from synthetic import WeakPhaseScan, batches

from ptylive.engine.backend.device import ArrayDevice, NoRoom
from ptylive.engine.imaging.accumulation.device_rows import DeviceRows
from ptylive.engine.imaging.accumulation.rows import RowTransforms
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.live.plan import ReductionPlan
from ptylive.engine.live.reading import reduced

STRICT = ArrayDevice(device, lambda: math.inf)
PADDED = (20, 24)


@pytest.fixture(scope="module")
def scan():
    made = WeakPhaseScan.make({"C10": -60.0}, n=16, strength=0.05)
    made.patterns = np.random.default_rng(0).poisson(made.patterns * 20000).astype(np.float32)
    return made


def reduction_of(scan):
    return ReductionPlan.of(scan.header(), scan.patterns.mean(axis=0)).reduction


def filled(scan):
    return reduced(scan.header(), reduction_of(scan), lambda: batches(scan.patterns))


def test_planes_are_those_of_the_processor(scan):
    """Rows arrive in any order; the mean changes throughout, and the reference changes once."""
    store = Store(scan.header(), reduction_of(scan))
    here, there = RowTransforms(), DeviceRows(STRICT)
    frames = scan.patterns.copy()
    frames[:60] *= 1.5
    for batch in batches(frames, np.random.default_rng(3).permutation(256), 50):
        store.add(batch)
        visited = store.visited.astype(np.float32)
        means = [rows.update(store, PADDED) for rows in (here, there)]
        # a sum over the scan in double precision, of single-precision transforms: each within (log2(24) + 3) u of its
        # norm
        rounding = 8 * 2**-24 * np.linalg.norm(store.bins)
        assert np.linalg.norm(means[0] - means[1]) < rounding / np.sqrt(store.total_frames)
        expected, found = here.planes(means[0], visited), there.planes(means[1], visited)
        assert found.shape == expected.shape
        assert np.linalg.norm(found.get() - expected) < 3 * rounding * np.sqrt(16 * 24)
    assert there.bytes == there.bytes_in_files == 0, "the host's memory is left alone"


def test_nothing_new_sends_nothing(scan):
    store = reduced(
        scan.header(),
        ReductionPlan.of(scan.header(), scan.patterns.mean(axis=0)).reduction,
        lambda: batches(scan.patterns),
    )
    rows = DeviceRows(STRICT)
    rows.update(store, PADDED)
    device.traffic.reset()
    rows.update(store, PADDED)
    assert (device.traffic.to_device, device.traffic.to_host) == (0, 1), "the mean alone comes back"


def test_no_room_leaves_it_as_it_was(scan):
    store = reduced(
        scan.header(),
        ReductionPlan.of(scan.header(), scan.patterns.mean(axis=0)).reduction,
        lambda: batches(scan.patterns),
    )
    free = [1e3]
    rows = DeviceRows(ArrayDevice(device, lambda: free[0]))
    for _ in range(2):
        with pytest.raises(NoRoom):
            rows.update(store, PADDED)
    free[0] = 1e12
    assert np.isfinite(rows.update(store, PADDED)).all()
