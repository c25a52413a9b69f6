"""Results in MATLAB v7.3 as saved by fold_slice, laid out as its sources and PtyRAD's reader describe them."""

import h5py
import numpy as np
import pytest

from ptylive.engine.earlier_results.formats import read_earlier
from ptylive.schema import InputFileError

PAIR = np.dtype([("real", "<f4"), ("imag", "<f4")])
PIXEL_A, SIZE = 0.2, 16


def as_matlab(values):
    """An array as MATLAB stores it in HDF5: axes reversed, complex numbers as pairs."""
    values = np.asarray(values).transpose()
    if values.dtype.kind != "c":
        return values.astype(float)
    pairs = np.zeros(values.shape, PAIR)
    pairs["real"], pairs["imag"] = values.real, values.imag
    return pairs


def write(path, *, layers=3, variable=2, **changed):
    """Three layers whose phases are 0.1, 0.2, 0.3 in one pixel; two modes and their variable parts."""
    transmission = np.ones((40, 50, layers), complex)
    transmission[20, 30] = np.exp(0.1j * (1 + np.arange(layers)))
    probe = np.zeros((SIZE, SIZE, 2, variable), complex)
    probe[SIZE // 2, SIZE // 2 + 1] = 1j
    places = {
        "object": transmission if layers > 1 else transmission[..., 0],
        "probe": probe if variable > 1 else probe[..., 0],
    }
    places |= {
        "p/dx_spec": [[PIXEL_A, PIXEL_A]],
        "p/lambda": [[0.025]],
        "outputs/probe_positions": [[2.0, -4.0], [3.5, -4]],
    }
    places["p/multi_slice_param/z_distance"] = [[10.0] * (layers - 1) + [np.inf]]
    with h5py.File(path, "w") as file:
        for name, values in (places | changed).items():
            if values is not None:
                file[name] = as_matlab(values)
        file.require_group("outputs")
    return path


def test_layers_modes_and_positions(tmp_path):
    found = read_earlier(write(tmp_path / "Niter10.mat"))
    assert (found.program, found.object.shape, found.probe.shape) == ("fold_slice", (1, 3, 40, 50), (1, 2, 16, 16))
    np.testing.assert_allclose(np.angle(found.object[0, :, 20, 30]), [0.1, 0.2, 0.3], rtol=1e-6)
    assert found.probe[0, 0, 8, 9] == 1j
    assert (found.pixel_A, found.slice_thickness_A) == (PIXEL_A, (10.0, 10.0, 10.0))
    # PtyRAD 1.0.0: a window begins at row -4 + ceil(40/2 - 16/2) - 1 = 7; its middle pixel is 8 further
    np.testing.assert_allclose(found.positions_A / PIXEL_A, [[15, 26], [15, 27.5]])


def test_one_layer_and_one_variable_mode(tmp_path):
    found = read_earlier(write(tmp_path / "Niter10.mat", layers=1, variable=1))
    assert (found.object.shape, found.probe.shape, found.slice_thickness_A) == ((1, 1, 40, 50), (1, 2, 16, 16), ())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"p/lambda": [[1.2e-10]]}, "belongs to X-rays"),
        ({"p/lambda": None}, "has no p/lambda"),
        ({"p/dx_spec": None}, "has no p/dx_spec"),
        ({"p/dx_spec": [[2e-11, 2e-11]]}, "is not plausible for an electron reconstruction"),
        ({"probe": np.ones((4, 6, 2), complex)}, "its probe has the shape"),
        ({"outputs/probe_positions": [[1.0, np.nan]]}, "its positions have the shape"),
    ],
)
def test_what_is_missing_or_of_another_unit_is_one_line(tmp_path, changed, said):
    with pytest.raises(InputFileError, match=said):
        read_earlier(write(tmp_path / "Niter10.mat", **changed))
