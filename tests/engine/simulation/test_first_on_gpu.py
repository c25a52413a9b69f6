"""Compiling a GPU's small kernels ahead of time by a whole refinement of a made-up scan."""

from functools import partial

import numpy as np
import pytest
from device_kernels import fused
from strict_device import device

from ptylive.engine.backend import device as chosen
from ptylive.engine.backend.multislice import gpu
from ptylive.engine.refine import refine
from ptylive.engine.simulation import first_on_gpu
from ptylive.schema import RefinementError
from ptylive.schema.preset import Preset


@pytest.fixture
def card(monkeypatch):
    """The stand-in for a card; returns the windows for which the fused kernel was compiled."""
    compiled: list[int] = []
    monkeypatch.setattr(chosen, "missing", lambda: "")
    monkeypatch.setattr(chosen, "current_gpu", lambda: chosen.ArrayDevice(device, lambda: 1e9))
    monkeypatch.setattr(gpu, "too_small", lambda problem: "")
    monkeypatch.setattr(gpu, "opened", fused)
    monkeypatch.setattr(gpu, "warm_up", compiled.append)
    return compiled


@pytest.mark.slow
def test_the_scan_is_one_that_a_refinement_goes_through_from_sweeps_to_epochs():
    dataset = first_on_gpu.made_up_scan()
    assert dataset.patterns.shape == (144, 64, 64)
    phases = []
    result = refine(
        dataset, Preset(phase_deviation=False), backend="cpu", on_progress=lambda told: phases.append(told.phase)
    )
    assert result.state == "done" and {"sweep", "lbfgs"} <= set(phases)
    assert result.loss[-1] < result.loss[0]


def test_it_is_refined_on_the_gpu(card, monkeypatch):
    ended = []
    monkeypatch.setattr(first_on_gpu, "refine", lambda *given, **named: ended.append(refine(*given, **named)))
    monkeypatch.setattr(
        first_on_gpu,
        "Preset",
        partial(Preset.from_mapping, {"epoch_max": 2, "sweeps": 1, "probe_modes": 1, "phase_deviation": False}),
    )
    first_on_gpu.warm_up_gpu(1000)  # no pattern of this size is made
    assert card == [1000] and ended[0].backend == "gpu"
    assert ended[0].phases == ("sweep", "lbfgs") and ended[0].loss[-1] < ended[0].loss[0]


@pytest.mark.parametrize("error", [RefinementError("no optics", "give them"), RuntimeError("out of memory")])
def test_where_it_fails_nothing_is_said(card, monkeypatch, error):
    def refuses(*_, **__):
        raise error

    monkeypatch.setattr(first_on_gpu, "refine", refuses)
    first_on_gpu.warm_up_gpu(30)
    assert card == [32]


def test_nothing_is_refined_without_a_gpu(monkeypatch):
    monkeypatch.setattr(chosen, "missing", lambda: "cupy is not installed")
    monkeypatch.setattr(first_on_gpu, "made_up_scan", lambda: pytest.fail("there is no GPU"))
    first_on_gpu.warm_up_gpu(np.int64(30))
