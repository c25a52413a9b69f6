"""Every path of the compiled kernel is compiled before a refinement needs it, with the types it will have."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from forward_problems import make_planes, make_problem, tilts
from rounding import DOUBLE, SINGLE

from ptylive.engine.backend.multislice import compiled_kernel
from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.backend.multislice.kernel_parts.kernel_paths import KernelPath
from ptylive.engine.backend.multislice.problem import Precision
from ptylive.engine.backend.multislice.specialised.backend import SpecialisedMultislice
from ptylive.engine.backend.multislice.warm_up import warm_up

WAYS = (
    compiled_kernel.add_loss_and_gradient,
    compiled_kernel.add_loss_of_coefficients,
    compiled_kernel.fill_waves,
    compiled_kernel.add_gradient,
    compiled_kernel.fill_intensities,
    compiled_kernel.fill_losses,
    compiled_kernel.add_illumination,
)


def compiled(single):
    """Number of compiled versions of each path, in single precision or in double."""
    return [sum(("float32" in str(each)) == single for each in way.signatures) for way in WAYS]


def test_nothing_is_left_to_compile():
    double = compiled(single=False)
    warm_up(30)  # no compiled transform: nothing to do
    warm_up(32)
    assert compiled(single=True) == [1] * len(WAYS), "one set of types serves every refinement"
    warm_up(48, (KernelPath.FRAMES,))
    assert compiled(single=True) == [1] * len(WAYS), "nor does another size need anything new"
    assert compiled(single=False) == double, "what is in double precision is compiled where it is asked for"


@pytest.mark.slow
def test_one_set_of_types_serves_every_model_in_double_precision():
    problem = replace(make_problem(window=32, tilts=tilts(0), slices=2), precision=Precision.DOUBLE)
    planes = make_planes(problem, 1, 1)
    SpecialisedMultislice(problem, "kernel").loss_and_gradient(*planes)
    CompiledMultislice(replace(problem, model=None)).loss_and_gradient(*planes)
    assert compiled(single=False)[0] == 1


def test_offsets_in_any_order_need_nothing_more():
    """Otherwise two versions would be compiled, which takes 5 s, and call each other's helpers (``_contiguous``)."""
    warm_up(32, (KernelPath.FRAMES,))
    problem = replace(make_problem(window=32), model=None)
    offsets = np.asfortranarray(np.random.default_rng(4).normal(size=(problem.count, 2)))
    planes = [plane.astype(np.float32) for plane in make_planes(problem, 1, 1)]
    found = [CompiledMultislice(replace(problem, offsets_px=each)) for each in (offsets, offsets.copy("C"))]
    np.testing.assert_array_equal(*(backend.intensities(*planes) for backend in found))
    assert compiled(single=True)[4] == 1


@pytest.mark.parametrize("backend", [CompiledMultislice, partial(SpecialisedMultislice, name="kernel")])
def test_what_may_not_be_changed_needs_nothing_more(backend):
    """A read-only array is another type: for it the kernel would be compiled again, for half a minute."""
    warm_up(32)
    problem = replace(make_problem(window=32), model=None)
    planes = [plane.astype(np.float32) for plane in make_planes(problem, 1, 1)]
    for array in (*planes, *(value for value in vars(problem).values() if isinstance(value, np.ndarray))):
        array.flags.writeable = False
    every = np.arange(problem.count)
    every.flags.writeable = False
    found = backend(problem)
    found.loss_and_gradient(*planes, every)
    found.illumination(planes[1], every)
    if backend is CompiledMultislice:
        found.intensities(*planes)
    assert compiled(single=True) == [1] * len(WAYS)


SCRIPT = """
import sys
from dataclasses import replace
import numpy as np
from forward_problems import make_planes, make_problem, tilts
from ptylive.engine.backend.multislice.problem import Precision
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.specialised.backend import SpecialisedMultislice
for precision in sys.argv[1:]:
    problem = replace(make_problem(window=32, tilts=tilts(4), slices=2), precision=Precision(precision))
    planes = [plane.astype(problem.precision.real) for plane in make_planes(problem, 1, 1)]
    found = SpecialisedMultislice(problem, "kernel").loss_and_gradient(*planes)
    exact = GeneralMultislice(problem, np, "complex128", "double").loss_and_gradient(*make_planes(problem, 1, 1))
    print(np.linalg.norm(found.object - exact.object) / np.linalg.norm(exact.object))
"""


@pytest.mark.slow
def test_precisions_that_two_processes_compiled_serve_a_third(tmp_path, monkeypatch):
    """With numba 0.68, compiled functions of one name in two files once called each other's helpers."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))

    def check(*precisions):
        command = [sys.executable, "-c", SCRIPT, *precisions]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for precision, apart in zip(precisions, said.split(), strict=True):
            assert float(apart) < {"single": SINGLE, "double": DOUBLE}[precision]

    for first, second in (("single", "double"), ("double", "single")):
        check(first)
        check(second)
        files = sorted(tmp_path.rglob("*.nbc"))
        check(first, second)
        assert sorted(tmp_path.rglob("*.nbc")) == files, "nothing is compiled twice"
        for file in tmp_path.rglob("*.nb?"):
            file.unlink()
