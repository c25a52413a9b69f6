"""Choice of the device for live maps: a GPU that passes a small test, otherwise the CPU with a stated reason."""

import math
import sys

import numpy as np
import pytest
from fake_card import FakeCards
from strict_device import device as strict

from ptylive.engine.backend.device import ArrayDevice
from ptylive.engine.backend.imaging import open as opening
from ptylive.engine.backend.imaging.open import PROCESSOR, failing, open_map_device
from ptylive.schema import FrameBatch
from ptylive.schema.scan_header import CodedFrames, EventBatch, EventFrames


@pytest.mark.parametrize("name", ["auto", "gpu"])
def test_a_gpu_that_computes_rightly_is_taken(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "cupy", FakeCards().module())
    found = open_map_device(name, 1000)
    assert (found.words, found.why, found.least_batch_bytes) == ("gpu", "", 1000)
    assert found.on_trial == (name == "auto")
    assert found.arrays.free_bytes() == 1 << 30


def test_the_processor_is_taken_where_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", FakeCards().module())
    assert open_map_device("cpu").words == "cpu"


def test_no_gpu_is_the_processor_with_a_reason(monkeypatch, caplog):
    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "cupy is not installed")
    assert open_map_device("auto").words == "cpu (cupy is not installed)"
    assert open_map_device("gpu").words == "cpu (cupy is not installed)"
    assert not caplog.text, "most machines have none"


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="unknown backend 'tpu': use auto, cpu, gpu"):
        open_map_device("tpu")


def test_a_device_that_fails_is_not_taken(monkeypatch, caplog):
    module = FakeCards().module()

    def broken(*_args, **_given):
        raise OSError("libcufft.so.11: cannot open shared object file")

    module.fft = type(sys)("cupy.fft")
    module.fft.rfft = module.fft.fft = broken
    monkeypatch.setitem(sys.modules, "cupy", module)
    words = "the GPU fails a small test (OSError: libcufft.so.11: cannot open shared object file)"
    assert open_map_device("auto").words == f"cpu ({words})"
    assert words in caplog.text


def test_a_device_that_computes_wrongly_is_not_taken():
    wrong = type(sys)("wrong")
    vars(wrong).update(vars(strict))
    wrong.multiply = strict.add
    assert failing(ArrayDevice(wrong, lambda: math.inf)) == "the GPU computes filters wrongly"
    assert not failing(ArrayDevice(strict, lambda: math.inf))


def test_which_batches_are_worth_sending():
    large = opening.MapDevice(None, "", 8000)
    frames = np.zeros((10, 20, 20), "u2")
    batch = FrameBatch("u", np.arange(10), frames)
    assert large.refuses(batch) == ""
    assert large.refuses(FrameBatch("u", np.arange(9), frames[:9])) == "batches below 0.00762939 MiB"
    coded = CodedFrames(0, np.zeros(1, np.uint8), np.zeros(1, np.int64), 0)
    assert large.refuses(FrameBatch("u", np.arange(10), frames, coded)) == "coded frames are decoded on the CPU"
    events = EventFrames(np.zeros(10, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint16), frames.shape[1:])
    assert large.refuses(EventBatch("u", np.arange(10), events)) == "events are summed on the CPU"
    assert PROCESSOR.least_batch_bytes == 2 * 2**20


@pytest.mark.parametrize(
    ("error", "said"), [(RuntimeError("out of\n memory"), "out of memory"), (OSError(), "OSError")]
)
def test_a_device_given_up_is_the_processor_with_the_reason_in_one_line(error, said):
    assert PROCESSOR.given_up(error).words == f"cpu ({said})"
