"""The array form of the filter bank against the compiled one; on a GPU where there is one."""

import numpy as np
import pytest

from ptylive.engine.backend.imaging import bank_arrays
from ptylive.engine.backend.imaging.bank import ArrayContraction, CompiledContraction
from ptylive.engine.backend.imaging.bank_arrays import ArrayFilter, transformed_columns
from ptylive.engine.backend.imaging.bank_numba import contract


def namespaces():
    try:
        import cupy
    except ImportError:
        skipped = pytest.mark.skip(reason="cupy is not installed: no GPU here")
        return [np, pytest.param(None, marks=skipped, id="cupy")]
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return [np, pytest.param(cupy, marks=pytest.mark.skip(reason=f"no GPU: {error}"), id="cupy")]
    return [np, cupy]


@pytest.mark.parametrize("xp", namespaces())
def test_both_forms_agree(xp, monkeypatch):
    monkeypatch.setattr(bank_arrays, "BLOCK_BYTES", 8 * 46 * 100)
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(20, 13, 46)) + 1j * rng.normal(size=(20, 13, 46))).astype(np.complex64)
    weights = (rng.normal(size=(431, 46)) + 1j * rng.normal(size=(431, 46))).astype(np.complex64)
    index, sign = rng.integers(0, 24 * 13, 431), rng.choice([-1, 1], 431).astype(np.float32)
    planes = transformed_columns(xp, rows, 24)
    found = ArrayFilter.of(xp, weights, index, sign).contract(planes, 0.3)
    expected = np.empty(431, dtype=np.complex64)
    host = np.fft.fft(rows, n=24, axis=0).reshape(-1, 46).astype(np.complex64)
    contract(weights, host, index, sign, np.float32(0.3), expected)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("xp", namespaces())
def test_one_interface(xp):
    rng = np.random.default_rng(1)
    planes, other = ((rng.normal(size=(90, 7)) + 1j * rng.normal(size=(90, 7))).astype(np.complex64) for _ in range(2))
    compiled, arrays = CompiledContraction(), ArrayContraction(xp)
    for _ in range(12):  # more filters than are kept on the device
        weights = (rng.normal(size=(50, 7)) + 1j).astype(np.complex64)
        ways = [(rng.integers(0, 90, 50), rng.choice([-1, 1], 50).astype(np.float32)) for _ in range(2)]
        for read in (planes, other):
            expected = compiled.contract_pair(weights, read, *ways, 0.5)
            for a, b in zip(arrays.contract_pair(weights, read, *ways, 0.5), expected, strict=True):
                assert np.abs(a - b).max() < 1e-4 * np.abs(b).max()
            np.testing.assert_allclose(compiled.contract(weights, read, ways[0], 0.5), expected[0], rtol=1e-5)
