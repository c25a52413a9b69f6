"""What `--backend gpu` opens on which card, up to the launch; cupy and its card are replaced by ``fake_card.py``."""

import gc
import sys
from dataclasses import replace

import numpy as np
import pytest
from fake_card import FakeCards
from rounding import SINGLE
from strict_device import device

from ptylive.engine.backend.device import WORK_SHARE
from ptylive.engine.backend.multislice import gpu
from ptylive.engine.backend.multislice.description import ForwardModel, Tilts
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.fused.cuda import CudaKernels
from ptylive.engine.backend.multislice.fused.plan import Plan
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, Precision, PythonTerm
from ptylive.engine.backend.multislice.specialised.fused import SpecialisedFused
from ptylive.schema import RefinementError


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> FakeCards:
    made = FakeCards()
    monkeypatch.setitem(sys.modules, "cupy", made.module())
    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "")
    return made


def agrees(problem, make_planes, backend) -> None:
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 1))
    expected = GeneralMultislice(problem, np, "complex128", "reference").loss_and_gradient(planes, probe)
    found = backend.loss_and_gradient(backend.xp.asarray(planes), backend.xp.asarray(probe))
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=SINGLE)
    ours = backend.to_numpy(found.object)
    assert np.linalg.norm(ours - expected.object) < SINGLE * np.linalg.norm(expected.object)
    light = backend.to_numpy(backend.illumination(backend.xp.asarray(probe)))
    assert light.sum() == pytest.approx(problem.count * (probe**2).sum(), rel=SINGLE)
    backend.close()


@pytest.mark.parametrize("name", ["auto", "gpu"])
def test_a_window_that_fits_goes_through_the_fused_kernel(make_problem, make_planes, cards, name):
    problem = make_problem(32, 2, DataTermKind.AMPLITUDE, 0.1, count=3)
    backend = open_backend(name, problem)
    assert backend.name == "gpu"
    agrees(problem, make_planes, backend)
    assert cards.launches == [("loss_and_gradient", 3, 128), ("add_windows", 3, 128)]


def test_no_more_blocks_than_run_at_a_time(make_problem, make_planes, cards):
    """Registers allow 65536 / (128 x 128) = 4 blocks on each of two processors."""
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1, count=12)
    agrees(problem, make_planes, open_backend("gpu", problem))
    assert [blocks for _, blocks, _ in cards.launches] == [8, 8]


@pytest.mark.parametrize(("bytes_", "name"), [(30_000, "gpu"), (10_000, "gpu (cuFFT)")])
def test_windows_that_do_not_fit_lie_in_strips_or_are_whole_arrays(make_problem, make_planes, cards, bytes_, name):
    """A whole 64 x 64 window takes 37 KB, half of it 20 KB."""
    cards.attributes["MaxSharedMemoryPerBlockOptin"] = bytes_
    problem = make_problem(64, 1, DataTermKind.AMPLITUDE, 0.1, count=2)
    backend = open_backend("gpu", problem)
    assert backend.name == name
    agrees(problem, make_planes, backend)
    assert bool(cards.launches) == (name == "gpu")


def kernels() -> CudaKernels:
    plan = Plan.of(32)
    assert plan is not None
    return CudaKernels(plan, "uint8")


def test_a_step_is_captured_with_memory_of_its_own_and_launched_on_other_arrays(cards):
    seen, xp = [], device

    def step(vector, numbers):
        seen.append((cards.capturing, cards.allocators == [cards.pools[0].malloc], vector, numbers))
        return vector + numbers, vector.sum()

    recorded = kernels().record(step, (xp.ones(2), np.arange(2)), ())
    assert seen[0][:2] == (True, True)
    assert not cards.capturing and cards.allocators == []
    assert cards.pools[0].limit == WORK_SHARE * (1 << 30)
    (_, _, vector, numbers), given = seen[0], xp.full(2, 7.0)
    found, total = recorded(given, np.array([3, 4]))
    assert (vector.get().tolist(), numbers.get().tolist()) == ([7, 7], [3, 4])
    assert (found.get().tolist(), total.item()) == ([1, 2], 2)  # of the capture: launches do nothing here
    assert (cards.graphs[0].launches, len(seen)) == (1, 1)
    found[...] = 0.0
    given[...] = 0.0
    again, _ = recorded(given, np.array([3, 4]))
    assert again.get().tolist() == [1, 2] and vector.get().tolist() == [0, 0]


def test_memory_of_a_recording_is_given_back_with_it(cards):
    recorded = kernels().record(lambda vector: (vector * 2,), (device.ones(2),), ())
    assert cards.pools[0].given_back == 0
    del recorded
    gc.collect()
    assert cards.pools[0].given_back == 1


def test_a_step_that_cannot_be_captured_leaves_nothing_behind(cards):
    def step(vector):
        raise RuntimeError("calling cuBLAS API during stream capture is currently unsupported")

    with pytest.raises(RuntimeError, match="cuBLAS"):
        kernels().record(step, (device.ones(2),), ())
    assert not cards.capturing and cards.pools[0].given_back == 1


def test_the_kernel_is_compiled_ahead_for_each_type_of_counts(cards):
    gpu.warm_up(32)
    assert sorted(cards.compiled) == ["float", "unsigned char", "unsigned short"]


def test_a_compiler_that_refuses_ahead_is_no_error(cards):
    cards.refuses = True
    gpu.warm_up(32)
    assert len(cards.compiled) == 1


def test_nothing_is_compiled_ahead_without_a_gpu_or_for_a_window_without_a_kernel(cards, monkeypatch):
    gpu.warm_up(30)
    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "no CUDA device responds")
    gpu.warm_up(32)
    assert cards.compiled == []


def test_a_compiler_that_refuses_is_said_and_whole_arrays_serve(make_problem, make_planes, cards, caplog):
    cards.refuses = True
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1)
    backend = open_backend("gpu", problem)
    assert backend.name == "gpu (cuFFT)"
    assert "whole arrays instead of the fused kernel" in caplog.text
    agrees(problem, make_planes, backend)


def test_long_runs_are_shared_by_all_cards_and_short_ones_not(make_problem, make_planes, cards, monkeypatch):
    cards.count = 3
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1, count=7)
    assert open_backend("gpu", problem).name == "gpu"
    monkeypatch.setattr(gpu, "SPLIT_FROM", 1)
    shared = open_backend("gpu", problem)
    assert shared.name == "gpu x 3"
    agrees(problem, make_planes, shared)
    assert [blocks for name, blocks, _ in cards.launches if name == "loss_and_gradient"] == [3, 2, 2]


def test_memory_that_cupy_keeps_of_a_trial_is_there_for_the_run(make_problem, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", FakeCards(free_bytes=100_000, kept_bytes=1 << 30).module())
    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "")
    assert open_backend("gpu", make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1, count=50)).name == "gpu"


def test_what_does_not_fit_stays_on_the_cpu_and_is_said(make_problem, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "cupy", FakeCards(free_bytes=100_000).module())
    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "")
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1, count=50)
    with pytest.raises(RefinementError, match="no GPU to refine on: patterns and object need"):
        open_backend("gpu", problem)
    assert open_backend("auto", problem).name == "cpu"
    assert "no refinement on the GPU" in caplog.text


def beyond(problem, **parts):
    return replace(problem, model=ForwardModel(pixel_A=0.2, wavelength_A=0.04, thickness_A=(3.0,), **parts))


def test_a_model_goes_through_the_fused_kernel_and_the_name_says_so(make_problem, make_planes, cards):
    problem = beyond(make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1, count=3), tilts=Tilts(np.full((1, 6), 1e-3), 4))
    backend = open_backend("gpu", problem)
    assert (type(backend), backend.name) == (SpecialisedFused, "gpu (with tilts)")
    agrees(problem, make_planes, backend)
    assert cards.launches == [("loss_and_gradient", 3, 128)]


def test_so_does_a_data_term_of_a_plug_in(make_problem, cards):
    term = PythonTerm("mine", lambda *_: (0.0, 0.0), lambda counts: 0.5 / counts)
    problem = replace(make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1), data_term=DataTerm(term, 0.1))
    backend = open_backend("gpu", problem)
    assert (type(backend), backend.name) == (SpecialisedFused, "gpu (with the data term mine, a Python function)")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"precision": Precision.DOUBLE}, "gpu (cuFFT, for double precision)"),
        ({"stretched": True}, "gpu (cuFFT, for a thickness that varies)"),
    ],
)
def test_what_the_fused_kernel_cannot_do_is_whole_arrays_on_the_card_and_said(make_problem, cards, change, name):
    problem = make_problem(32, 1, DataTermKind.AMPLITUDE, 0.1, count=3)
    problem = replace(problem, phase_per_A=np.random.default_rng(0).normal(size=(32, 32)))
    problem = replace(problem, **change) if "precision" in change else beyond(problem, **change)
    backend = open_backend("gpu", problem)
    assert (type(backend), backend.name) == (GeneralMultislice, name)
