"""Whole arrays on a device as strict as cupy give the same loss and gradient as with numpy, in double precision."""

from dataclasses import replace

import numpy as np
import pytest
from combinations import every_two
from forward_problems import COUNT, coefficients, every_correction, groups, make_planes, make_problem, near_field, tilts
from strict_device import DeviceArray, device

from ptylive.engine.backend.multislice.description import SplitStep
from ptylive.engine.backend.multislice.forward import general
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, Corrections, DataTermKind


def on_device(value):
    """Arrays and corrections as a refinement on a device holds them."""
    if isinstance(value, Corrections):
        return Corrections(*(on_device(part) for part in vars(value).values()))
    return None if value is None else device.asarray(value)


def check(backend, problem, modes=2, object_modes=2, probes=1):
    """Compare all patterns with every correction, then some patterns with none and without the probe gradient."""
    host, there = (
        backend(problem, np, "complex128", "host"),
        backend(problem, device, "complex128", "device"),
    )
    planes = make_planes(problem, modes, object_modes, probes)
    asked = every_correction(problem)
    expected = host.loss_and_gradient(*planes, corrections=asked)
    found = there.loss_and_gradient(*map(on_device, planes), corrections=on_device(asked))
    same(there, found, expected)
    few = np.array([COUNT - 1, 0])
    expected = host.loss_and_gradient(*planes, few, probe_gradient=False)
    same(there, there.loss_and_gradient(*map(on_device, planes), few, probe_gradient=False), expected)
    lit = there.illumination(on_device(planes[1]), few)
    np.testing.assert_allclose(there.to_numpy(lit), host.illumination(planes[1], few), rtol=1e-10)


def same(backend, found, expected):
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=1e-12)
    pairs = {name: (getattr(found, name), getattr(expected, name)) for name in ("object", "probe")}
    pairs |= {name: (getattr(found.corrections, name), at) for name, at in vars(expected.corrections).items()}
    for name, (there, here) in pairs.items():
        if here is None:
            assert there is None, name
            continue
        assert isinstance(there, DeviceArray), name
        np.testing.assert_allclose(backend.to_numpy(there), here, rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("kind", list(DataTermKind))
def test_the_plain_model(kind, slices):
    problem = replace(make_problem(kind, slices), model=None)
    model = make_problem(kind, slices).model

    def backend(problem, *options):
        return GeneralMultislice(replace(problem, model=None), *options)

    check(backend, replace(problem, model=model))
    arrays = [GeneralMultislice(problem, xp, "complex128", "arrays") for xp in (np, device)]
    planes = make_planes(problem, 2, 1)
    patterns = [each.expected_patterns(*(each.xp.asarray(plane) for plane in planes)) for each in arrays]
    np.testing.assert_allclose(patterns[1].get(), patterns[0], rtol=1e-10)
    known = [
        each.position_information(*(each.xp.asarray(plane) for plane in planes), np.arange(COUNT)) for each in arrays
    ]
    np.testing.assert_allclose(known[1].get(), known[0], rtol=1e-9)


@pytest.mark.parametrize(
    ("kind", "field", "each"), every_two([*DataTermKind, *CoefficientTermKind], ["far", "near"], [True, False])
)
def test_general_models_give_the_same_on_a_device(kind, field, each):
    parts = {"tilts": tilts(4 if each else 3, each), "aberrations": groups()}
    if field == "near":
        parts["near_field"] = near_field()
    if isinstance(kind, CoefficientTermKind):
        parts["compressed"] = coefficients(kind)
    check(GeneralMultislice, make_problem(kind, 3, **parts))


@pytest.mark.parametrize("split", list(SplitStep))
def test_split_steps_give_the_same_on_a_device(split):
    check(GeneralMultislice, make_problem(slices=3, split=split, tilts=tilts(0)))


def test_band_limit_markers_plates_and_upsampling():
    rng = np.random.default_rng(9)
    q = np.hypot(*np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(16)))
    parts = {
        "band": np.clip((0.4 - q) * 20, 0, 1).astype(np.float32),
        "probe_marker": np.array([1, 0, 1]),
        "phase_plates": np.exp(1j * rng.normal(size=(COUNT, 16, 16))),
    }
    problem = make_problem(slices=3, upsampling=2, probes=3, aberrations=groups(16), tilts=tilts(4), **parts)
    check(GeneralMultislice, problem, object_modes=1, probes=3)


def test_several_batches_give_the_same_on_a_device(monkeypatch):
    monkeypatch.setitem(general.BATCH_BYTES, "cupy", 1)
    check(GeneralMultislice, make_problem(slices=2, tilts=tilts(4)))


@pytest.mark.parametrize("probes", [1, 2])
def test_round_trips_of_an_evaluation(probes):
    """The host waits for the device only to select the patterns of each of several probes."""
    marker = {"probe_marker": np.array([1, 0, 1]), "probes": 2} if probes == 2 else {}
    problem = make_problem(slices=3, tilts=tilts(4), aberrations=groups(), **marker)
    backend = GeneralMultislice(problem, device, "complex128", "device")
    planes, asked = map(on_device, make_planes(problem, 1, 1, probes)), on_device(every_correction(problem))
    device.traffic.reset()
    backend.loss_and_gradient(*planes, corrections=asked)
    assert device.traffic.to_host == (0 if probes == 1 else 4)
