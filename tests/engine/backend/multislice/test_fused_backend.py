"""The fused CUDA kernel, run on the CPU, against the reference in double precision."""

import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from combinations import every_two
from emulated_cuda import EmulatedKernels, compile_kernel
from forward_problems import moved_patterns
from quick_first import quick_first
from rounding import SINGLE, SINGLE_SIGNED

from ptylive.engine.backend.multislice.fast_sizes import RADICES
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.fused.order import counts_type
from ptylive.engine.backend.multislice.fused.plan import Feature, Plan, source
from ptylive.engine.backend.multislice.fused_backend import FusedMultislice
from ptylive.engine.backend.multislice.problem import HELD, Corrections, DataTermKind
from ptylive.engine.backend.multislice.split_backend import SplitMultislice

NAMES = ("shifts_px", "current", "background", "distances_A")
CASES = every_two(list(DataTermKind), (1, 3), (1, 2), (1, 2))
"""Slices, probe modes, object modes."""


def fused(problem, threads=8, resident=3, strip=None):
    plan = Plan.of(problem.window, threads)
    plan = plan if strip is None else replace(plan, strip=strip)
    return FusedMultislice(problem, plan, EmulatedKernels(plan, counts_type(problem.patterns), resident))


def reference(problem):
    return GeneralMultislice(problem, np, "complex128", "reference")


def assert_close(ours, theirs, share=SINGLE):
    assert ours.shape == theirs.shape
    assert np.linalg.norm(ours - theirs) <= share * np.linalg.norm(theirs)


@pytest.mark.parametrize(("kind", "slices", "modes", "object_modes"), CASES)
def test_agrees_with_the_reference(make_problem, make_planes, make_corrections, kind, slices, modes, object_modes):
    problem = make_problem(32, slices, kind, 0.05, count=4)
    planes, probe = make_planes(problem, modes, object_modes)
    at = make_corrections(problem)
    expected = reference(problem).loss_and_gradient(planes, probe, corrections=at)
    result = fused(problem).loss_and_gradient(planes.astype(np.float32), probe.astype(np.float32), corrections=at)
    assert result.loss == pytest.approx(expected.loss, rel=SINGLE)
    assert_close(result.object, expected.object)
    assert_close(result.probe, expected.probe)
    for name in NAMES:
        assert_close(getattr(result.corrections, name), getattr(expected.corrections, name), SINGLE_SIGNED)


@pytest.mark.parametrize(("slices", "modes", "object_modes"), [(1, 1, 1), (3, 2, 2)])
@pytest.mark.parametrize("devices", [1, 2])
def test_patterns_that_do_not_lie_in_place(make_problem, make_planes, slices, modes, object_modes, devices):
    problem = moved_patterns(make_problem(32, slices, DataTermKind.POISSON, 0.05, count=5))
    planes, probe = make_planes(problem, modes, object_modes)
    expected = reference(problem).loss_and_gradient(planes, probe)
    backend = fused(problem) if devices == 1 else SplitMultislice(problem, [nullcontext()] * devices, fused)
    result = backend.loss_and_gradient(planes.astype(np.float32), probe.astype(np.float32))
    assert result.loss == pytest.approx(expected.loss, rel=SINGLE)
    assert_close(result.object, expected.object)
    assert_close(result.probe, expected.probe)


@pytest.mark.parametrize("strip", [4, 16])
@pytest.mark.parametrize(("slices", "modes", "object_modes"), [(1, 1, 1), (3, 2, 2)])
def test_a_window_that_lies_in_strips(make_problem, make_planes, make_corrections, strip, slices, modes, object_modes):
    problem = moved_patterns(make_problem(32, slices, DataTermKind.POISSON, 0.05, count=4))
    planes, probe = make_planes(problem, modes, object_modes)
    at = make_corrections(problem)
    expected = reference(problem).loss_and_gradient(planes, probe, corrections=at)
    single = planes.astype(np.float32), probe.astype(np.float32)
    result = fused(problem, threads=7, resident=2, strip=strip).loss_and_gradient(*single, corrections=at)
    assert result.loss == pytest.approx(expected.loss, rel=SINGLE)
    assert_close(result.object, expected.object)
    assert_close(result.probe, expected.probe)
    for name in NAMES:
        assert_close(getattr(result.corrections, name), getattr(expected.corrections, name), SINGLE_SIGNED)


@pytest.mark.slow
@pytest.mark.parametrize("window", list(RADICES))
def test_every_window_size_agrees_with_the_reference(make_problem, make_planes, window):
    """With the real thread layout scaled down: the kernel must work with any number of threads."""
    problem = make_problem(window, 2, DataTermKind.AMPLITUDE, 0.05, count=2)
    planes, probe = make_planes(problem, 1)
    expected = reference(problem).loss_and_gradient(planes, probe)
    result = fused(problem, threads=2).loss_and_gradient(planes.astype(np.float32), probe.astype(np.float32))
    assert result.loss == pytest.approx(expected.loss, rel=SINGLE)
    assert_close(result.object, expected.object)
    assert_close(result.probe, expected.probe)


@pytest.mark.parametrize("threads", [1, 7, 32])
def test_the_number_of_threads_and_blocks_does_not_matter(make_problem, make_planes, threads):
    problem = make_problem(32, 2, DataTermKind.POISSON, 0.05, count=5)
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 2))
    expected = fused(problem, threads=4, resident=5).loss_and_gradient(planes, probe)
    result = fused(problem, threads=threads, resident=2).loss_and_gradient(planes, probe)
    assert result.loss == pytest.approx(expected.loss, rel=SINGLE)
    assert_close(result.object, expected.object)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", ">u2", "float32", "float64"])
def test_recorded_types_give_the_same_loss(make_problem, make_planes, dtype):
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1, dtype=dtype)
    planes, probe = make_planes(problem, 1)
    expected = reference(problem).loss_and_gradient(planes, probe).loss
    single = planes.astype(np.float32), probe.astype(np.float32)
    assert fused(problem).loss_and_gradient(*single).loss == pytest.approx(expected, rel=SINGLE)


def test_chosen_patterns_and_what_is_not_asked_for(make_problem, make_planes, make_corrections):
    problem = make_problem(32, 2, DataTermKind.AMPLITUDE, 0.1)
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 2))
    at, chosen = make_corrections(problem), np.array([4, 1])
    backend = fused(problem)
    plain = backend.loss_and_gradient(planes, probe, chosen, probe_gradient=False)
    assert not plain.probe.any()
    assert plain.loss == pytest.approx(reference(problem).loss_and_gradient(planes, probe, chosen).loss, rel=SINGLE)
    result = backend.loss_and_gradient(planes, probe, chosen, probe_gradient=False, corrections=at)
    for gradient in (result.corrections.current, result.corrections.shifts_px[:, 0]):
        assert sorted(np.flatnonzero(gradient)) == [1, 4]
    again = backend.loss_and_gradient(planes, probe, chosen)
    assert again.loss == pytest.approx(plain.loss, rel=SINGLE)
    backend.close()


def test_little_memory_means_fewer_blocks_at_a_time(make_problem, make_planes):
    problem = make_problem(32, 3, DataTermKind.AMPLITUDE, 0.1, count=6)
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 2))
    roomy, narrow = fused(problem, resident=6), fused(problem, resident=6)
    narrow._kernels.free_bytes = lambda: 4 * 8 * 20_000  # type: ignore[method-assign]
    expected, result = (backend.loss_and_gradient(planes, probe) for backend in (roomy, narrow))
    assert roomy._kernels.launched == [("loss_and_gradient", 6)]
    assert narrow._kernels.launched == [("loss_and_gradient", 2)]
    assert_close(result.object, expected.object)


def test_illumination_agrees_with_the_reference(make_problem, make_planes):
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.0)
    _, probe = make_planes(problem, 3)
    chosen = np.array([0, 3, 4])
    assert_close(fused(problem).illumination(probe, chosen), reference(problem).illumination(probe, chosen))


def test_windows_lie_whole_in_shared_memory_where_a_chip_has_it_and_in_strips_elsewhere():
    assert Plan.fitting(30, 1 << 20) is None
    assert Plan.fitting(256, 10_000) is None
    bytes_of_a_chip = {"A100": 166_912, "H200": 232_448, "desktop": 101_376}
    plans = {name: [Plan.fitting(w, most) for w in RADICES] for name, most in bytes_of_a_chip.items()}
    assert {name: [p.window for p in fitting if p.strip == p.window] for name, fitting in plans.items()} == {
        "A100": [32, 48, 64, 96, 128],
        "H200": [32, 48, 64, 96, 128, 144],
        "desktop": [32, 48, 64, 96],
    }
    for name, fitting in plans.items():
        assert all(plan.window % plan.strip == 0 and plan.shared_bytes <= bytes_of_a_chip[name] for plan in fitting)


@pytest.mark.parametrize("window", list(RADICES))
def test_threads_share_every_pass(window):
    plan = Plan.of(window)
    assert sorted(plan.order()) == list(range(window))
    for radix in plan.radices:
        butterflies = plan.strip * window // radix
        rounds = -(-butterflies // plan.threads)
        assert 1 <= rounds <= 6
        assert butterflies / (rounds * plan.threads) >= 0.75


@pytest.mark.slow
def test_no_two_threads_touch_the_same_memory_without_a_barrier():
    """The kernel under the thread sanitizer, two threads to a line: removing any one barrier causes a race."""
    whole, barrier = source(), "__syncthreads();"
    plans = [Plan.of(32, 64), replace(Plan.of(32, 64), strip=8)]
    plans += [replace(plan, features=Feature.ANY) for plan in plans]
    assert "".join(races(plan, whole) for plan in plans) == ""
    pieces = whole.split(barrier)
    for k in range(1, len(pieces)):
        without = barrier.join(pieces[:k]) + ";" + barrier.join(pieces[k:])
        assert any("data race" in races(plan, without) for plan in plans), pieces[k - 1][-80:]


def races(plan, text):
    """Data races reported by the sanitizer."""
    sanitized = ("-std=c++20", "-fsanitize=thread")  # C++ 20 for atomic addition
    program = compile_kernel(plan, "uint16", *sanitized, main="races.cpp", text=text)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("the thread sanitizer does not run under this kernel's address layout")
    return done.stderr


def test_several_devices_share_the_patterns(make_problem, make_planes, make_corrections):
    """Devices are entered and left in turn; here all of them are this CPU."""
    problem = make_problem(32, 2, DataTermKind.AMPLITUDE, 0.1, count=7)
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 2))
    entered = []

    class Device:
        def __init__(self, number):
            self.number = number

        def __enter__(self):
            entered.append(self.number)

        def __exit__(self, *_):
            pass

    split = SplitMultislice(problem, [Device(k) for k in range(3)], fused)
    for chosen in (None, np.array([5, 2, 0]), np.array([3])):
        for at in (HELD, make_corrections(problem)):
            one = fused(problem).loss_and_gradient(planes, probe, chosen, corrections=at)
            shared = split.loss_and_gradient(planes, probe, chosen, corrections=at)
            assert shared.loss == pytest.approx(one.loss, rel=SINGLE)
            assert_close(shared.object, one.object)
            assert_close(shared.probe, one.probe)
            for name in NAMES if at is not HELD else ():
                assert_close(getattr(shared.corrections, name), getattr(one.corrections, name), SINGLE_SIGNED)
    assert_close(split.illumination(probe), fused(problem).illumination(probe))
    split.close()
    assert set(entered) == {0, 1, 2}
    assert split.name == "gpu x 3"


ANOTHER = """
import sys
from contextlib import nullcontext
sys.path.insert(0, {tests!r})
from dataclasses import replace
import numpy as np
from emulated_cuda import EmulatedKernels
from ptylive.engine.backend.multislice import fused_backend
from ptylive.engine.backend.multislice.fused.plan import Plan
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, MultisliceProblem
kind = DataTermKind.AMPLITUDE
fused_backend.PIXEL_TERMS = {{kind: replace(fused_backend.PIXEL_TERMS[kind], number={number})}}
empty = np.zeros((0, 32, 32), complex)
patterns, ones = np.ones((1, 32, 32), np.uint16), np.ones((32, 32), np.float32)
where = np.zeros((1, 2), int), np.zeros((1, 2))
problem = MultisliceProblem(patterns, ones, *where, (1, 32, 32), empty, DataTerm(kind, 0.1))
plan = Plan.of(32, 8)
backend = fused_backend.FusedMultislice(problem, plan, EmulatedKernels(plan, "uint16"))
planes = np.ones((2, 1, 32, 32), np.float32)
print(float(backend.loss_and_gradient(planes, planes).loss) > 0)
"""


@pytest.mark.parametrize(("number", "known"), quick_first([(9, False), (0, True)]))
def test_a_number_that_no_data_term_has_stops_the_kernel(make_problem, number, known):
    """No other loss is computed instead. The test runs in its own process because the trap ends it."""
    fused(make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1))  # compiles the kernel, or skips the test
    code = ANOTHER.format(tests=str(Path(__file__).parents[3]), number=number)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if known:
        assert done.stdout == "True\n", done.stderr
    else:
        assert done.returncode == -signal.SIGABRT, done.stdout + done.stderr


def test_corrections_of_an_extended_model_are_not_ignored(make_problem, make_planes):
    """Regression: the kernel returned the loss without them."""
    problem = make_problem(32, 1, DataTermKind.POISSON, 0.05, count=1)
    with pytest.raises(TypeError, match="the plain model has no tilts"):
        fused(problem).loss_and_gradient(*make_planes(problem, 1, 1), corrections=Corrections(tilts=np.zeros((1, 6))))


def test_a_current_of_the_problem_is_held(make_problem, make_planes):
    problem = make_problem(32, 1, DataTermKind.POISSON, 0.05, count=4)
    held = replace(problem, current=np.random.default_rng(1).uniform(0.8, 1.2, 4))
    planes, probe = make_planes(problem, 1)
    result = fused(held).loss_and_gradient(planes.astype(np.float32), probe.astype(np.float32))
    expected = reference(held).loss_and_gradient(planes, probe)
    assert result.loss == pytest.approx(expected.loss, rel=SINGLE)
    assert_close(result.object, expected.object)
