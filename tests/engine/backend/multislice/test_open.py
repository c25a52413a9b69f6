"""Which backend is opened, and the error where none is possible."""

from dataclasses import replace

import numba
import numpy as np
import pytest
from rounding import SINGLE

from ptylive.engine.backend.cache import source_hash, use_persistent_cache
from ptylive.engine.backend.multislice.description import ForwardModel
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import DataTermKind
from ptylive.schema import RefinementError


def test_gpu_without_a_gpu_is_one_clear_error(make_problem, monkeypatch):
    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "cupy is not installed")
    with pytest.raises(RefinementError) as error:
        open_backend("gpu", make_problem(32, 1, DataTermKind.AMPLITUDE, 0.0))
    assert error.value.line() == "no GPU to refine on: cupy is not installed: use --backend cpu"


def test_unknown_backend_is_refused(make_problem):
    with pytest.raises(RefinementError, match="unknown backend 'tpu'"):
        open_backend("tpu", make_problem(32, 1, DataTermKind.AMPLITUDE, 0.0))


def test_auto_without_a_gpu_is_the_cpu(make_problem, monkeypatch):
    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "no CUDA device responds")
    assert open_backend("auto", make_problem(32, 1, DataTermKind.AMPLITUDE, 0.0)).name == "cpu"


def test_odd_windows_fall_back_to_whole_arrays(make_problem, make_planes):
    problem = make_problem(30, 1, DataTermKind.AMPLITUDE, 0.1)
    backend = open_backend("cpu", problem)
    assert backend.name == "cpu (scipy)"
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 1))
    result = backend.loss_and_gradient(planes, probe)
    assert result.object.dtype == np.float32
    backend.close()


def test_cache_folder_is_keyed_on_the_sources(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)  # restored after the test
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert use_persistent_cache().name == source_hash()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    assert use_persistent_cache() == tmp_path / "mine"


def test_what_a_plain_model_has_in_its_propagators_stays_there(make_problem, make_planes):
    """For example a tilt that is not refined, which the description's thickness alone does not contain."""
    problem = make_problem(30, 2, DataTermKind.AMPLITUDE, 0.1)
    told = replace(problem, model=ForwardModel(pixel_A=0.2, wavelength_A=0.04, thickness_A=(3.0, 3.0)))
    planes, probe = (a.astype(np.float32) for a in make_planes(problem, 1))
    assert not told.model.beyond_compiled()
    assert not np.allclose(problem.propagators, np.exp(3j * problem.phase_per_A))
    losses = [float(open_backend("cpu", each).loss_and_gradient(planes, probe).loss) for each in (problem, told)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("threads", [1, 3])
def test_whole_arrays_use_the_threads_they_are_given(make_problem, make_planes, threads):
    problem = make_problem(30, 1, DataTermKind.AMPLITUDE, 0.1)
    planes, probe = make_planes(problem, 1)
    backend = open_backend("cpu", problem, threads)
    expected = GeneralMultislice(problem, np, "complex128", "reference").loss_and_gradient(planes, probe)
    found = backend.loss_and_gradient(planes.astype(np.float32), probe.astype(np.float32))
    assert backend._shares.count == threads
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=SINGLE)
    backend.close()
