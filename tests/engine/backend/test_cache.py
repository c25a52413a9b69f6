"""Code compiled in different processes and loaded into one: symbol names must encode all that a function depends on."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ptylive.engine.backend import cache
from ptylive.schema import PtyliveError

PROGRAM = """
import sys
import numba
others = [numba.jit(lambda x: x) for _ in range(int(sys.argv[1]))]  # shifts numba's count of functions
import numpy as np
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, MultisliceProblem
from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
for window in map(int, sys.argv[2:]):
    rng = np.random.default_rng(0)
    problem = MultisliceProblem(
        rng.poisson(3, (3, window, window)).astype(np.uint16), np.ones((window, window), np.float32),
        np.zeros((3, 2), np.int64), np.zeros((3, 2)), (1, window, window), np.zeros((0, window, window), complex),
        DataTerm(DataTermKind.AMPLITUDE, 0.1))
    planes, probe = rng.normal(size=(2, 1, window, window)), rng.normal(size=(2, 1, window, window))
    expected = GeneralMultislice(problem, np, "complex128", "reference").loss_and_gradient(planes, probe)
    found = CompiledMultislice(problem).loss_and_gradient(planes, probe)
    single = 480 * 2**-24  # tests/rounding.py
    assert abs(found.loss - expected.loss) < single * expected.loss, (window, found.loss, expected.loss)
    assert np.linalg.norm(found.object - expected.object) < single * np.linalg.norm(expected.object), window
"""


@pytest.mark.slow
def test_versions_from_two_processes_do_not_mix(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for arguments in (["0", "32"], ["1", "48"], ["2", "64"], ["3", "96"], ["0", "32", "48", "64", "96"]):
        subprocess.run([sys.executable, "-c", PROGRAM, *arguments], env=environment, check=True, timeout=250)


def test_tests_and_servers_share_compiled_code():
    """Otherwise every loop would be compiled twice on a fresh machine."""
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.engine.backend.imaging.reduction_numba import reduce_frames

    assert Path(reduce_frames.stats.cache_path).is_relative_to(use_persistent_cache())


@pytest.mark.parametrize("all_kinds", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_names_say_what_functions_depend_on(all_kinds):
    """Symbols of compiled functions are unique.

    numba distinguishes functions of one name and type by a number counted anew in every process, so two functions from
    the cache could share a symbol. Double precision and filters of two sizes are compiled in slow tests only.
    """
    from ptylive.engine.backend.multislice.planes_fft import compiled_filters, compiled_transforms

    precisions = ("float32", "float64") if all_kinds else ("float32",)
    made = (compiled_transforms, compiled_filters) if all_kinds else (compiled_transforms,)
    kinds = [(size, real) for size in (32, 48) for real in precisions]
    names = [each.native_name for kind in kinds for compiled in made for each in compiled(*kind)]
    assert len(set(names)) == len(names) == (4 * 9 if all_kinds else 2 * 6)


def test_the_mark_of_compiled_code_tells_processors_places_and_names_apart(monkeypatch, tmp_path):
    """Machines that share a cache folder cannot use each other's compiled code."""
    import numba

    from ptylive.engine.backend.cache import compiled_mark

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    here = compiled_mark("maps")
    assert here == compiled_mark("maps") != compiled_mark("refinement-64")
    assert here.parent == tmp_path
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("ptylive.engine.backend.cache.PACKAGE", tmp_path)
        assert compiled_mark("maps") != here, "numba keeps what two installations compile apart"
    monkeypatch.setattr(numba.config, "CPU_NAME", "some-other-processor")
    assert compiled_mark("maps") != here


@pytest.mark.parametrize("named", ["XDG_CACHE_HOME", "NUMBA_CACHE_DIR"])
def test_where_nothing_can_be_kept_a_temporary_folder_of_the_user_is_taken(named, tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv(named, str(tmp_path / "file" / "inside"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys.modules["numba"].config, "CACHE_DIR", "")
    folder = cache.use_persistent_cache()
    assert folder == tmp_path / f"ptylive-compiled-{os.geteuid()}" / cache.source_hash()
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder)
    assert folder.is_dir()
    assert cache.compiled_mark("some").parent == folder


def test_nobody_elses_folder_is_taken_for_code(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "inside"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    open_to_all = tmp_path / f"ptylive-compiled-{os.geteuid()}"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(PtyliveError, match="compiled code can be stored neither in"):
        cache.use_persistent_cache()
    open_to_all.rmdir()
    open_to_all.symlink_to(tmp_path)
    with pytest.raises(PtyliveError, match="nor in the folder for temporary files"):
        cache.use_persistent_cache()
