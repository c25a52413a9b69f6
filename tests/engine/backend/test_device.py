"""Detection of a GPU; nothing is allocated on it before there is room."""

import sys

import numpy as np
import pytest
from fake_card import FakeCards
from strict_device import device as strict

from ptylive.engine.backend import device
from ptylive.engine.backend.device import ArrayDevice, NoRoom


def test_a_gpu_is_missing_or_not_but_never_an_exception():
    assert isinstance(device.missing(), str)


@pytest.mark.parametrize(("cards", "words"), [(1, ""), (0, "no CUDA device responds")])
def test_cards_are_counted(monkeypatch, cards, words):
    monkeypatch.setitem(sys.modules, "cupy", FakeCards(count=cards).module())
    assert device.missing() == words


@pytest.mark.parametrize(("mode", "shared"), [(0, True), (3, False)])
def test_a_card_that_an_operator_keeps_for_one_process_is_not_shared(monkeypatch, mode, shared):
    module = FakeCards().module()
    asked = []

    def attribute(name, card):
        asked.append((name, card))
        return mode

    module.cuda.runtime.deviceGetAttribute = attribute
    monkeypatch.setattr(module.cuda.Device, "id", 1, raising=False)
    monkeypatch.setitem(sys.modules, "cupy", module)
    assert device.is_shared() is shared
    assert asked == [(20, 1)]  # cudaDevAttrComputeMode


def test_a_driver_that_fails_is_no_gpu(monkeypatch):
    module = FakeCards().module()

    def broken():
        raise RuntimeError("CUDA driver version\nis insufficient")

    module.cuda.runtime.getDeviceCount = broken
    monkeypatch.setitem(sys.modules, "cupy", module)
    assert device.missing() == "CUDA does not start (CUDA driver version is insufficient)"


def test_memory_that_cupy_keeps_can_be_had(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", FakeCards(free_bytes=100, kept_bytes=23).module())
    gpu = device.current_gpu()
    assert gpu.free_bytes() == 123
    assert sys.modules["cupy"].get_default_memory_pool().free_bytes() == 23
    gpu.release()
    assert sys.modules["cupy"].get_default_memory_pool().free_bytes() == 0
    assert sys.modules["cupy"].cuda.compiler.CompileException in gpu.failures


def test_what_does_not_fit_is_said_in_words():
    small = ArrayDevice(strict, lambda: 2e9)
    small.check_room(1.5e9, "patterns")
    with pytest.raises(NoRoom, match=r"patterns need 1.7 GB of GPU memory, 1.6 GB are available"):
        small.check_room(1.7e9, "patterns")
    assert issubclass(NoRoom, small.failures)


def test_portions_keep_to_a_share_of_what_is_free():
    assert ArrayDevice(strict, lambda: 4000).portion(100, "frames") == 10  # a quarter
    assert ArrayDevice(strict, lambda: 1e15).portion(2**20, "frames") == device.WORK_BYTES // 2**20
    assert ArrayDevice(strict, lambda: 1000).portion(700, "frames") == 1
    with pytest.raises(NoRoom, match="frames need"):
        ArrayDevice(strict, lambda: 1000).portion(900, "frames")


def test_arrays_come_back_as_numpy_has_them():
    there = strict.asarray(np.arange(3))
    found = ArrayDevice(strict, lambda: 0).to_host(there)
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, [0, 1, 2])


class OnDevice:
    """Like cupy's array: it is not converted to a host array implicitly."""

    def __array__(self, *_: object, **__: object):
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def get(self):
        return np.arange(3.0)


def test_an_array_of_a_device_is_fetched_and_one_of_this_machine_taken_as_it_is():
    own = np.ones(2)
    assert device.on_host(own) is own
    np.testing.assert_array_equal(device.on_host(OnDevice()), [0, 1, 2])
