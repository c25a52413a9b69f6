"""Data terms that are Python functions: the numbers of a compiled term of the same formula, never another's result."""

from dataclasses import replace

import numpy as np
import pytest
from strict_device import device

from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.backend.multislice.data_terms import compared
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, PythonTerm
from ptylive.engine.refine.data_terms import registry
from ptylive.engine.refine.data_terms.registration import MARK, data_term
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.schema import MetadataError, RefinementError
from ptylive.schema.preset import Preset, added


def amplitudes(intensity, counts, weights, offset):
    amplitude = np.sqrt(intensity + (offset + 1e-12))
    difference = amplitude - np.sqrt(counts + offset)
    return weights * difference**2, weights * difference / amplitude


TERM = PythonTerm("my_amplitudes", amplitudes, lambda counts: 0.5 / counts, "loss_offset", "as lsq_sqrt")


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setattr(registry, "_known", registry._Known({}))
    regularisers = added._Declared(dict(added.declared()), dict(added._declared.owners), {}, [])
    monkeypatch.setattr(added, "_declared", regularisers)  # a run looks up their settings
    known = registry._known.by_name
    registry.add(known, TERM)
    return known


def test_a_run_is_that_of_the_same_formula_built_in(mine, small):
    """Setup and gradient agree; only the steps differ, as the curvature of the function is not known to be bounded."""
    setups = [
        prepare(small.dataset, Preset.from_mapping({"algorithm": name, "probe_modes": 1}), None)
        for name in ("my_amplitudes", "lsq_sqrt")
    ]
    assert setups[0].strategy.algorithm == setups[1].strategy.algorithm.replace("lsq_sqrt", "my_amplitudes")
    assert setups[0].strategy.curvature_scale == pytest.approx(setups[1].strategy.curvature_scale)
    results = []
    for setup in setups:
        backend = GeneralMultislice(setup.multislice, np, "complex128", "reference")
        physical = setup.layout.physical(setup.start.astype(float), np)
        results.append(backend.loss_and_gradient(physical.object, physical.probe))
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-12)
    np.testing.assert_allclose(results[0].object, results[1].object, rtol=1e-9, atol=1e-12)


def test_it_is_said_why_nothing_is_compiled(mine, small):
    for settings in ({}, {"upsample_pattern": 2}):
        preset = Preset.from_mapping({"algorithm": "my_amplitudes", "probe_modes": 1, **settings})
        backend = open_backend("cpu", prepare(small.dataset, preset, None).multislice)
        assert backend.name.endswith("the data term my_amplitudes, a Python function)")
        backend.close()


def of_pixel(intensity, counts, offset):
    amplitude = np.sqrt(intensity + (offset + 1e-12))
    difference = amplitude - np.sqrt(counts + offset)
    return difference * difference, difference / amplitude


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"window_px": 32}, "cpu"), ({"upsample_pattern": 2}, "cpu (compiled, with upsampling)")],
)
def test_with_a_form_for_one_pixel_it_is_compiled_where_any_term_is(mine, small, settings, name):
    told = {"help": "the same", "curvature": TERM.curvature, "constant": "loss_offset", "pixel": of_pixel}
    registry.add(mine, getattr(data_term("of_a_pixel", **told)(amplitudes), MARK))
    preset = Preset.from_mapping({"algorithm": "of_a_pixel", **settings})
    backend = open_backend("cpu", prepare(small.dataset, preset, None).multislice)
    assert backend.name == name
    assert isinstance(backend, CompiledMultislice) is (name == "cpu")
    backend.close()


def test_on_a_device_it_is_the_same_loss():
    """numpy's functions dispatch to a stand-in that is as strict as cupy."""
    rng = np.random.default_rng(0)
    intensity, counts = rng.uniform(0.1, 9, (2, 3, 4, 4))
    weights, term = rng.uniform(0, 1, (4, 4)), DataTerm(TERM, 0.3)
    expected = compared(np, term, intensity, counts, weights)
    found = compared(device, term, *(device.asarray(part) for part in (intensity, counts, weights)))
    assert float(found[0]) == pytest.approx(float(expected[0]), rel=1e-12)
    np.testing.assert_allclose(found[1].get(), expected[1], rtol=1e-12)


def test_compiled_code_computes_no_other_loss_instead(mine, small):
    preset = Preset.from_mapping({"algorithm": "my_amplitudes", "window_px": 32})
    problem = prepare(small.dataset, preset, None).multislice
    with pytest.raises(ValueError, match="my_amplitudes"):
        CompiledMultislice(problem, 1)


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (lambda *_: (0.0, np.zeros(3)), "gives a derivative of shape (3,)"),
        (lambda *_: 1 / 0, "failed: ZeroDivisionError"),
        (lambda *_: None, "failed: TypeError"),
    ],
)
def test_what_a_function_gets_wrong_is_one_line(small, function, line):
    function.__module__ = "somebody.else"
    problem = prepare(small.dataset, Preset(probe_modes=1), None).multislice
    problem = replace(problem, data_term=DataTerm(replace(TERM, compare=function), 0.0))
    backend = GeneralMultislice(problem, np, "complex64", "cpu")
    planes = np.zeros((2, *problem.object_shape), np.float32)
    with pytest.raises(RefinementError) as error:
        backend.loss_and_gradient(planes, np.zeros((2, 1, problem.window, problem.window), np.float32))
    assert line in error.value.line()


@pytest.mark.parametrize(
    ("term", "line"),
    [
        (TERM, "the name my_amplitudes is already used"),
        (replace(TERM, name="lsq_compressed"), "the name lsq_compressed is already used"),
        (replace(TERM, name="two words"), "'two words' is not a valid name for a data term"),
        (replace(TERM, name="other", curvature=0.5), "other needs two functions"),
        (replace(TERM, name="other", constant="floor"), "other: constant = 'floor'"),
        (replace(TERM, name="other", pixel="of_pixel"), "other: pixel = 'of_pixel'"),
    ],
)
def test_what_says_too_little_or_takes_a_name_is_refused(mine, term, line):
    with pytest.raises(MetadataError) as error:
        registry.add(mine, term)
    assert line in error.value.line()
    assert list(mine) == ["my_amplitudes"]


def test_a_name_that_nobody_has_is_refused(mine):
    with pytest.raises(RefinementError, match="no data term is called 'gone'"):
        registry.python_term("gone")


def test_the_decorator_leaves_the_function_as_it_is():
    marked = data_term("again", help="x", curvature=lambda counts: counts)(amplitudes)
    assert marked is amplitudes
    assert getattr(marked, MARK).name == "again"
    assert DataTermKind.AMPLITUDE not in (getattr(marked, MARK),)
