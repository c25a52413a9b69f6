"""The filter bank on whole arrays against the compiled loops, on a stand-in as strict as cupy or on a GPU."""

import gc
import math

import numpy as np
import pytest
from rounding import U
from strict_device import ON_CARD, DeviceArray, device

from ptylive.engine.backend.device import ArrayDevice, current_gpu, missing
from ptylive.engine.backend.imaging.bank import CompiledContraction
from ptylive.engine.backend.imaging.bank_arrays import ArrayContraction

STRICT = ArrayDevice(device, lambda: math.inf)
DEVICES = [
    pytest.param(lambda: STRICT, id="strict"),
    pytest.param(current_gpu, id="gpu", marks=pytest.mark.skipif(bool(missing()), reason=missing())),
]


def complex_of(rng, *shape):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def reads_of(rng, planes, count):
    return rng.integers(0, planes, count), rng.choice([-1, 1], count).astype(np.float32)


def bound(weights, planes, reads, scale):
    """Bound on the difference of two contractions.

    Both parts are sums of 2 n products and a scale, in any order: (2 n + 2) u of the sum of magnitudes, twice because
    both sides round, with sqrt(2) for the two parts and another for |re| + |im| of a product over its magnitude.
    """
    n = weights.shape[1]
    return 4 * (2 * n + 2) * U * scale * (np.abs(weights) * np.abs(planes[reads[0]])).sum(axis=1)


@pytest.mark.parametrize("gpu", DEVICES)
def test_both_forms_agree_within_rounding(gpu):
    rng, scale = np.random.default_rng(0), 0.3
    weights, planes = complex_of(rng, 431, 46), complex_of(rng, 312, 46)
    reads, others = reads_of(rng, 312, 431), reads_of(rng, 312, 431)
    expected = CompiledContraction().contract_pair(weights, planes, reads, others, scale)
    arrays = ArrayContraction(gpu())
    found = arrays.contract_pair(weights, planes, reads, others, scale)
    for a, b, way in zip(found, expected, (reads, others), strict=True):
        assert a.dtype == np.complex64
        assert (np.abs(a - b) <= bound(weights, planes, way, scale)).all()
    np.testing.assert_array_equal(arrays.contract(weights, planes, reads, scale), found[0])


def test_planes_of_the_device_stay_there():
    rng = np.random.default_rng(1)
    weights, planes, reads = complex_of(rng, 50, 7), complex_of(rng, 90, 7), reads_of(rng, 90, 50)
    arrays, there = ArrayContraction(STRICT), device.asarray(planes)
    arrays.contract(weights, there, reads, 1.0)
    device.traffic.reset()
    found = arrays.contract(weights, there, reads, 1.0)
    assert (device.traffic.to_device, device.traffic.to_host) == (0, 1), (
        "filter and planes are there; the sums come back"
    )
    assert np.array_equal(there.get(), planes), "what is read is not what is conjugated"
    assert (
        np.abs(found - CompiledContraction().contract(weights, planes, reads, 1.0))
        <= bound(weights, planes, reads, 1.0)
    ).all()


def test_filters_leave_with_their_owner():
    """Filters replaced by a new calibration occupy neither device nor host memory."""
    rng, arrays = np.random.default_rng(2), ArrayContraction(STRICT)
    planes, reads = device.asarray(complex_of(rng, 90, 7)), reads_of(rng, 90, 50)
    for _ in range(5):
        weights = complex_of(rng, 50, 7)
        found = arrays.contract(weights, planes, reads, 1.0)
        expected = CompiledContraction().contract(weights, planes.get(), reads, 1.0)
        assert (np.abs(found - expected) <= bound(weights, planes.get(), reads, 1.0)).all(), "never an older filter's"
    assert len(arrays._copies) == 3  # these weights, their index and sign
    del weights, reads
    gc.collect()
    assert not arrays._copies


class Watched:
    """A device on which no single array may exceed ``most`` bytes."""

    def __init__(self, most):
        self.most = most

    def __enter__(self):
        made, most = DeviceArray.__init__, self.most

        def watched(this, host):
            assert host.base is not None or host.nbytes <= most, f"{host.nbytes} bytes at a time"
            made(this, host)

        self._made, DeviceArray.__init__ = made, watched

    def __exit__(self, *_):
        DeviceArray.__init__ = self._made


@pytest.mark.skipif(ON_CARD, reason="counts arrays of the stand-in")
def test_large_filters_come_in_portions():
    rng = np.random.default_rng(3)
    weights, planes, reads = complex_of(rng, 4000, 40), complex_of(rng, 20, 40), reads_of(rng, 20, 4000)
    free = weights.nbytes  # the filters need more than half, so they are not kept
    there = device.asarray(planes)
    arrays = ArrayContraction(ArrayDevice(device, lambda: free))
    with Watched(free // 4):
        found = arrays.contract(weights, there, reads, 1.0)
    assert (
        np.abs(found - CompiledContraction().contract(weights, planes, reads, 1.0))
        <= bound(weights, planes, reads, 1.0)
    ).all()


class InTurn:
    """Splits a range as threads would, but runs the pieces one after the other."""

    def split(self, items, work, *, least=1):
        for start in range(0, items, 100):
            work(0, start, min(start + 100, items))


def test_frequencies_shared_among_helpers_give_the_same():
    rng = np.random.default_rng(3)
    weights, planes = complex_of(rng, 431, 7), complex_of(rng, 312, 7)
    reads, others = reads_of(rng, 312, 431), reads_of(rng, 312, 431)
    alone, shared = CompiledContraction(), CompiledContraction(InTurn())
    np.testing.assert_array_equal(
        shared.contract(weights, planes, reads, 0.3), alone.contract(weights, planes, reads, 0.3)
    )
    for a, b in zip(*(c.contract_pair(weights, planes, reads, others, 0.3) for c in (shared, alone)), strict=True):
        np.testing.assert_array_equal(a, b)
