"""The host side of the fused kernel on a device as strict as cupy; the kernel itself runs on the CPU."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from device_kernels import fused
from emulated_cuda import EmulatedKernels
from rounding import SINGLE, SINGLE_SIGNED
from strict_device import ON_CARD, device

from ptylive.engine.backend.multislice.fast_sizes import RADICES
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import HELD, Corrections, DataTermKind
from ptylive.engine.backend.multislice.split_backend import SplitMultislice


@pytest.mark.skipif(not ON_CARD, reason="pytest --card, where there is a GPU")
@pytest.mark.parametrize(("slices", "modes"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("window", list(RADICES))
def test_every_window_on_a_card_agrees_with_the_reference(make_problem, make_planes, window, slices, modes):
    problem = make_problem(window, slices, DataTermKind.AMPLITUDE, 0.05, count=3)
    planes, probe = make_planes(problem, modes)
    expected = GeneralMultislice(problem, np, "complex128", "reference").loss_and_gradient(planes, probe)
    backend = fused(problem)
    found = backend.loss_and_gradient(device.asarray(planes.astype("f4")), device.asarray(probe.astype("f4")))
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=SINGLE)
    for ours, theirs in ((found.object, expected.object), (found.probe, expected.probe)):
        assert np.linalg.norm(backend.to_numpy(ours) - theirs) <= SINGLE * np.linalg.norm(theirs)


def shared(problem):
    return SplitMultislice(problem, [nullcontext(), nullcontext()], fused)


@pytest.mark.parametrize("opened", [fused, shared])
@pytest.mark.parametrize("corrected", [False, True])
def test_the_same_as_with_numpy(make_problem, make_planes, make_corrections, opened, corrected):
    problem = make_problem(32, 3, DataTermKind.AMPLITUDE, 0.05, count=5)
    planes = [plane.astype(np.float32) for plane in make_planes(problem, 2, 2)]
    asked = make_corrections(problem) if corrected else HELD
    there = Corrections(*(None if at is None else device.asarray(at.astype("f4")) for at in vars(asked).values()))
    expected = fused(problem, EmulatedKernels).loss_and_gradient(*planes, corrections=asked)
    backend, moved, chosen = opened(problem), [device.asarray(plane) for plane in planes], np.arange(5)
    device.traffic.reset()
    found = backend.loss_and_gradient(*moved, chosen, corrections=there)
    assert device.traffic.to_host == 0
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=SINGLE)
    pairs = [(found.object, expected.object, SINGLE), (found.probe, expected.probe, SINGLE)]
    pairs += [(getattr(found.corrections, name), at, SINGLE_SIGNED) for name, at in vars(expected.corrections).items()]
    for ours, theirs, share in pairs:
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            np.testing.assert_allclose(backend.to_numpy(ours), theirs, rtol=0, atol=share * np.abs(theirs).max())
    light = backend.illumination(moved[1], chosen[:3])
    expected_light = fused(problem, EmulatedKernels).illumination(planes[1], chosen[:3])
    np.testing.assert_allclose(backend.to_numpy(light), expected_light, rtol=0, atol=SINGLE * expected_light.max())
    backend.close()


def test_places_may_lie_column_after_column_in_memory(make_problem, make_planes):
    """Positions that were turned or transposed are stored this way."""
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.05, count=5)
    turned = replace(
        problem, corners=np.asfortranarray(problem.corners), shifts_px=np.asfortranarray(problem.shifts_px)
    )
    planes = [device.asarray(plane.astype(np.float32)) for plane in make_planes(problem, 1)]
    found, expected = (float(fused(each).loss_and_gradient(*planes).loss) for each in (turned, problem))
    assert found == pytest.approx(expected, rel=SINGLE)
