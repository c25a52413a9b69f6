"""The compile cache filled by another process: first what a refinement waits for, the rest behind it or not at all."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from stream_tools import make_header

from ptylive.engine.backend.cache import compiled_mark
from ptylive.schema import Basis, Detector
from ptylive.server.refinement import warm_refinement

FRAMES = make_header(pixels=(40, 30))
COEFFICIENTS = replace(FRAMES, basis=Basis(kind="zernike", n_bright=10))

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from stream_tools import make_header
from ptylive.server.refinement.warm_refinement import compiling
with compiling(make_header(pixels=({pixels}, {pixels})), lambda *_: None):
    pass
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been started, with an empty cache."""
    started: list[list[str]] = []
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command[3:]))
    return started


def test_a_refinement_waits_for_what_it_begins_with_only(commands: list[list[str]]) -> None:
    warm_refinement.start(FRAMES)
    warm_refinement.start(COEFFICIENTS)
    assert commands == [["40", "0", "frames"], ["40", "0", "coefficients"]]


def test_while_a_scan_runs_everything_is_compiled_its_own_way_first(commands: list[list[str]]) -> None:
    warm_refinement.start(COEFFICIENTS, 19, ahead=True)
    assert commands == [["40", "19", "coefficients", "frames", "outside"]]


def test_the_kernel_of_a_gpu_comes_last_where_there_may_be_one(commands: list[list[str]]) -> None:
    warm_refinement.start(FRAMES, 19, ahead=True, gpu=True)
    assert not warm_refinement.is_compiled_for_gpu(FRAMES)
    compiled_mark("refinement-gpu-48").touch()
    assert warm_refinement.is_compiled_for_gpu(FRAMES)
    warm_refinement.start(FRAMES, 19, ahead=True, gpu=True)
    ways = ["frames", "coefficients", "outside"]
    assert commands == [["40", "19", *ways, "gpu"], ["40", "19", *ways]]


def test_ctrl_c_at_the_terminal_ends_it_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiling process is not in the process group to which the terminal sends signals."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    process = warm_refinement.start(FRAMES)
    assert process is not None
    try:
        assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    finally:
        warm_refinement.end(process)


def test_pieces_are_compiled_in_turn_and_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(warm_refinement, "exit_with_parent", lambda: None)
    monkeypatch.setattr(warm_refinement, "use_persistent_cache", lambda: None)
    monkeypatch.setattr("ptylive.engine.backend.multislice.warm_up.warm_up", lambda *given: asked.append(given))
    monkeypatch.setattr("ptylive.engine.simulation.first_on_gpu.warm_up_gpu", asked.append)
    assert warm_refinement.main(["40", "0", "outside", "gpu"]) == 0
    assert asked == [(48, (warm_refinement.KernelPath.OUTSIDE,)), 40]
    assert {path.name.rsplit("-", 1)[0] for path in tmp_path.glob("*.compiled")} == {
        "refinement-outside-48",
        "refinement-gpu-48",
    }


def test_what_is_there_is_not_compiled_again(commands: list[list[str]]) -> None:
    assert not warm_refinement.is_compiled(FRAMES)
    compiled_mark("refinement-frames-48").touch()
    assert warm_refinement.is_compiled(FRAMES)
    assert not warm_refinement.is_compiled(COEFFICIENTS)
    assert warm_refinement.start(FRAMES) is None
    warm_refinement.start(FRAMES, 19, ahead=True)
    assert commands == [["40", "19", "coefficients", "outside"]]


def test_coefficients_of_an_unknown_detector_are_not_waited_for(commands: list[list[str]]) -> None:
    unknown = replace(COEFFICIENTS, detector=Detector(shape=None))
    assert warm_refinement.start(unknown) is None
    assert warm_refinement.is_compiled(unknown)
    assert not warm_refinement.is_compiled_for_gpu(unknown)
    assert commands == []


@pytest.mark.slow
@pytest.mark.timeout(1800)  # everything is compiled anew, minutes on a machine that does ten other things
def test_a_size_is_compiled_once(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for pixels in (30, 32):  # the same compiled code
        program = PROGRAM.format(pixels=pixels, tests=str(Path(__file__).parents[2]))
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)
        assert len(list(tmp_path.rglob("compiled_kernel.add_loss_and_gradient*.nbc"))) == 1
        assert not list(tmp_path.rglob("compiled_kernel.add_loss_of_coefficients*.nbc"))
        assert len(list(tmp_path.glob("refinement-frames-32-*.compiled"))) == 1


def test_the_wait_is_told_without_the_count_of_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: it reported "compiling, s: 19 of 2240 (1 %)", in seconds of the patterns that had been read."""

    answers = iter([None, None, 0])

    class Compiling:
        def poll(self) -> int | None:
            return next(answers)

    monkeypatch.setattr(warm_refinement, "start", lambda _: Compiling())
    monkeypatch.setattr(warm_refinement, "end", lambda _: None)
    monkeypatch.setattr(warm_refinement, "POLL_S", 0.0)
    told: list[tuple[float, float | None, str | None]] = []
    with warm_refinement.compiling(FRAMES, lambda *words: told.append(words)):
        assert told == []
    assert told == [(0, 0, warm_refinement.COMPILING)] * 2
