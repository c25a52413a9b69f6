"""Which backend is opened, and what is said where none can be."""

import numba
import numpy as np
import pytest

from ptylive.engine.backend.cache import source_hash, use_persistent_cache
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
    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "no CUDA device answers")
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
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)  # what is compiled later goes where it went
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert use_persistent_cache().name == source_hash()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    assert use_persistent_cache() == tmp_path / "mine"
