"""Every forward model on the fused CUDA kernel, run on the CPU, compared with whole arrays in double precision."""

from dataclasses import replace

import numpy as np
import pytest
from device_kernels import fused_general
from emulated_cuda import EmulatedKernels
from forward_models import agree, models
from forward_problems import every_correction, make_planes, make_problem, moved_patterns
from quick_first import quick_first
from rounding import SINGLE, SINGLE_SIGNED
from strict_device import ON_CARD, device

from ptylive.engine.backend.multislice.forward.comparison import compared
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import Corrections, DataTerm, DataTermKind, PythonTerm
from ptylive.engine.backend.multislice.specialised import fused
from ptylive.engine.backend.multislice.specialised.features import compares_in_kernel

SIZE = 32
MODELS = models(SIZE)
BOTH = {
    "band",
    "near field",
    "near field in a band",
    "plain coefficients",
    "sharp near field",
    "tilts everywhere",
    "two modes that vary",
}
"""Each takes a different path through the kernel."""


def problem_of(name, size=SIZE):
    parts = {"window": size, **models(size)[name]}
    problem = make_problem(**parts)
    return (problem if "near_field" in parts else moved_patterns(problem)), parts.get("probes", 1)


def fewest(name):
    """Fewest probe modes that the model allows."""
    return max(1, MODELS[name].get("varying_modes", 1))


def check(backend, problem, modes, object_modes, probes):
    """Compare loss, gradients and all corrections, then two patterns with only the object refined."""
    planes, corrections = make_planes(problem, modes, object_modes, probes), every_correction(problem)
    arrays = GeneralMultislice(problem, np, "complex128", "double")
    expected = arrays.loss_and_gradient(*planes, corrections=corrections)
    some = arrays.loss_and_gradient(*planes, np.array([2, 0]), probe_gradient=False)
    given = [moved(backend, plane.astype(np.float32)) for plane in planes]
    there = Corrections(*(None if at is None else moved(backend, at) for at in vars(corrections).values()))
    device.traffic.reset()
    found = backend.loss_and_gradient(*given, corrections=there)
    again = backend.loss_and_gradient(*given, np.array([2, 0]), probe_gradient=False)
    waited = device.traffic.to_host
    backend.close()
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=SINGLE)
    assert float(again.loss) == pytest.approx(float(some.loss), rel=SINGLE)
    assert not backend.to_numpy(again.probe).any()
    agree("object, two patterns", backend.to_numpy(again.object), some.object, SINGLE)
    agree("object", backend.to_numpy(found.object), expected.object, SINGLE)
    agree("probe", backend.to_numpy(found.probe), expected.probe, SINGLE)
    for name, value in vars(expected.corrections).items():
        if value is None:
            assert getattr(found.corrections, name) is None
        else:
            agree(name, backend.to_numpy(getattr(found.corrections, name)), value, SINGLE_SIGNED)
    return waited


def moved(backend, array):
    return backend.xp.asarray(array)


@pytest.mark.parametrize("name", list(MODELS))
def test_every_model_agrees_with_whole_arrays(name):
    problem, probes = problem_of(name)
    check(fused_general(problem, EmulatedKernels), problem, 2, 2, probes)


@pytest.mark.parametrize("name", quick_first([*[*MODELS][::3], *[*MODELS][1::3], *[*MODELS][2::3]], len(MODELS) // 3))
def test_every_model_on_a_device_that_is_not_waited_for(name):
    """With a single mode where the model allows it, which is a separate path through the kernel."""
    problem, probes = problem_of(name)
    waited = check(fused_general(problem), problem, fewest(name), 1, probes)
    assert waited == 0


@pytest.mark.parametrize("name", sorted(BOTH))
def test_a_window_that_lies_in_strips(name):
    problem, probes = problem_of(name)
    for strip in (4, 16):
        check(fused_general(problem, EmulatedKernels, strip=strip), problem, fewest(name), 2, probes)


@pytest.mark.parametrize("name", sorted(BOTH))
def test_patterns_are_taken_in_portions(name, monkeypatch):
    monkeypatch.setattr(fused, "OWN_BYTES", 1)
    problem, probes = problem_of(name)
    launched = []
    check(fused_general(problem, EmulatedKernels, launched), problem, fewest(name), 2, probes)
    assert len(launched) == 5 * (1 if compares_in_kernel(problem) else 2)


@pytest.mark.parametrize("name", ["tilts everywhere", "plain coefficients"])
def test_little_memory_means_fewer_patterns_at_a_time(name):
    problem, probes = problem_of(name)
    launched = []
    check(fused_general(problem, EmulatedKernels, launched, free_bytes=4 * 8 * 10_000), problem, 2, 1, probes)
    assert {blocks for _, blocks in launched} == {1}


@pytest.mark.parametrize("free_bytes", [1 << 30, 1000])
def test_phase_plates_stay_on_the_device_where_they_fit(free_bytes):
    """Otherwise they are read from their source at every evaluation."""
    problem, probes = problem_of("plates alone")

    class Read(np.ndarray):
        times = 0

        def __getitem__(self, which):
            Read.times += 1
            return np.asarray(super().__getitem__(which))

    read = problem.model.phase_plates.view(Read)
    problem = replace(problem, model=replace(problem.model, phase_plates=read))
    backend = fused_general(problem, EmulatedKernels, free_bytes=free_bytes)
    planes = [plane.astype(np.float32) for plane in make_planes(problem, 1, 1, probes)]
    opened = Read.times
    backend.loss_and_gradient(*planes)
    assert (Read.times > opened) == (free_bytes == 1000)


def test_what_is_not_refined_is_not_asked_for():
    """A thickness that may vary later, and distances held fixed after being refined, are those of the problem."""
    problem, _ = problem_of("thickness")
    problem = replace(problem, model=replace(problem.model, tilts=None))
    planes = make_planes(problem, 1, 1)
    longer = replace(every_correction(problem), distances_A=np.array([80.0, 120.0]))
    arrays, backend = GeneralMultislice(problem, np, "complex128", "double"), fused_general(problem, EmulatedKernels)
    given = [plane.astype(np.float32) for plane in planes]
    for asked in (Corrections(), longer, Corrections()):
        expected = arrays.loss_and_gradient(*planes, corrections=asked)
        found = backend.loss_and_gradient(*given, corrections=asked)
        assert float(found.loss) == pytest.approx(float(expected.loss), rel=SINGLE)
        agree("object", found.object, expected.object, SINGLE)


def as_amplitudes(intensity, counts, weights, offset):
    return compared(np, DataTerm(DataTermKind.AMPLITUDE, offset), intensity, counts, weights)


def test_a_data_term_of_a_plug_in_is_compared_on_whole_arrays(make_problem, make_planes, make_corrections):
    term = PythonTerm("mine", as_amplitudes, lambda counts: 0.5 / counts)
    problem = replace(make_problem(SIZE, 3, DataTermKind.AMPLITUDE, 0.1), data_term=DataTerm(term, 0.1))
    planes, at = make_planes(problem, 2), make_corrections(problem)
    expected = GeneralMultislice(problem, np, "complex128", "double").loss_and_gradient(*planes, corrections=at)
    backend = fused_general(problem, EmulatedKernels)
    found = backend.loss_and_gradient(*(plane.astype(np.float32) for plane in planes), corrections=at)
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=SINGLE)
    agree("object", found.object, expected.object, SINGLE)
    agree("background", found.corrections.background, expected.corrections.background, SINGLE_SIGNED)
    agree("distances", found.corrections.distances_A, expected.corrections.distances_A, SINGLE_SIGNED)


@pytest.mark.skipif(not ON_CARD, reason="pytest --card, where there is a GPU")
@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("name", list(MODELS))
def test_windows_of_other_sizes_on_a_card(name, size):
    problem, probes = problem_of(name, size)
    check(fused_general(problem), problem, 2, 1, probes)
