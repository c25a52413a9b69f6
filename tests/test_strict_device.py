"""The stand-in for cupy refuses and accepts what cupy does; if there is a GPU, cupy itself is tested the same way."""

import numpy as np
import pytest
from strict_device import DeviceArray, Ufunc, device


def modules():
    try:
        import cupy

        there = cupy.cuda.runtime.getDeviceCount() > 0
    except Exception:  # not installed, or no driver
        there = False
    none = [] if there else [pytest.mark.skip(reason="no GPU here")]
    return [device, pytest.param(cupy if there else None, marks=none, id="cupy")]


@pytest.fixture(params=modules())
def xp(request):
    return request.param


HOST = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda xp, a: np.asarray(a),
        lambda xp, a: np.float32(a[0, 0]),
        lambda xp, a: a + HOST,
        lambda xp, a: HOST * a,
        lambda xp, a: a * np.array(2.0),
        lambda xp, a: a @ HOST.T,
        lambda xp, a: np.add(a, HOST),
        lambda xp, a: xp.sqrt(HOST),
        lambda xp, a: xp.stack([a, HOST]),
        lambda xp, a: np.concatenate([a, HOST]),
        lambda xp, a: xp.maximum(a, HOST, out=a),
        lambda xp, a: np.add(a, a, out=np.empty((2, 3))),
        lambda xp, a: HOST.copy().__iadd__(a),
        lambda xp, a: a.__iadd__(HOST),
        lambda xp, a: a.__setitem__(Ellipsis, HOST),
        lambda xp, a: xp.where(a > 2, a, HOST),
        lambda xp, a: xp.tensordot(a, HOST, ((0, 1), (0, 1))),
        lambda xp, a: xp.einsum("ij,ij->i", a, HOST),
        lambda xp, a: xp.add.at(a.astype(complex), xp.asarray([0, 0]), a.astype(complex)[:1]),
        lambda xp, a: xp.add.at(a, xp.asarray([0]), HOST[0]) if xp is device else a + HOST,
        lambda xp, a: np.linspace(0, 1, a.sum()),
        lambda xp, a: a[a[0, 0] :],
        lambda xp, a: a[0.5],
        lambda xp, a: bool(a),
        lambda xp, a: a.sum(where=a > 2),
    ],
)
def test_mixing_host_and_device_is_refused(xp, mixed):
    with pytest.raises((TypeError, ValueError, IndexError)):
        mixed(xp, xp.asarray(HOST))


@pytest.mark.parametrize(
    "plain",
    [
        lambda xp, a: a * 2 + 1j,
        lambda xp, a: np.float64(3) / (a + np.float32(1)),
        lambda xp, a: np.sqrt(a) + np.sum(a, axis=0),
        lambda xp, a: a > np.array(2.0),
        lambda xp, a: a[np.array([1, 0])],
        lambda xp, a: a[a > 2],
        lambda xp, a: a.sum(),
        lambda xp, a: a[0, 0],
        lambda xp, a: sum(row.max() for row in a),
        lambda xp, a: xp.where(a > 2, a, 0),
        lambda xp, a: xp.fft.ifft2(a.astype("complex64"), norm="ortho"),
        lambda xp, a: xp.linalg.norm(a),
        lambda xp, a: xp.concatenate([a.ravel(), xp.full(3, 7.0)]),
    ],
)
def test_taken(xp, plain):
    """With the values and types of numpy, and as a device array, even where numpy returns a number."""
    there, here = plain(xp, xp.asarray(HOST)), plain(np, HOST)
    assert isinstance(there, xp.ndarray)
    assert there.dtype == here.dtype
    assert there.shape == here.shape
    np.testing.assert_allclose(there.get(), here, rtol=1e-6)


def test_views_share_memory(xp):
    a = xp.asarray(HOST)
    a.ravel()[0] = 9
    a[1, 2][...] = 8
    row = a[1]
    row *= 2
    xp.maximum(a[0], 1.5, out=a[0])
    a[:, 1][...] += 1
    np.testing.assert_array_equal(a.get(), [[9, 2.5, 2], [6, 9, 16]])
    assert HOST[0, 0] == 0


def test_round_trips_are_counted():
    a = device.asarray(HOST)
    device.traffic.reset()
    assert float(a.sum()) == 15
    assert a[0, 0] < 1
    assert isinstance(a.max(), DeviceArray)
    assert a[a > 2].shape == (3,)
    assert (device.traffic.to_host, device.traffic.to_device) == (3, 0)
    assert device.asarray([1, 2])[np.array([1])].get()[0] == 2
    assert (device.traffic.to_host, device.traffic.to_device) == (4, 2)


def test_values_at_repeated_indices_are_undefined():
    a, index = device.zeros(3), device.asarray([0, 0, 1])
    with pytest.raises(AssertionError, match="undefined"):
        a[index] = device.ones(3)
    a[index] = 2
    device.add.at(a, index, device.ones(3))
    np.testing.assert_array_equal(a.get(), [4, 3, 0])


def test_what_it_has_cupy_has():
    cupy = pytest.importorskip("cupy")
    for module, real in ((device, cupy), (device.fft, cupy.fft), (device.linalg, cupy.linalg)):
        names = {name for name in vars(module) if not name.startswith("_")} - {"traffic"}
        assert {name for name in names if not hasattr(real, name)} == set()
    ufuncs = {name for name, found in vars(device).items() if isinstance(found, Ufunc)}
    assert {name for name in ufuncs if not hasattr(getattr(cupy, name), "at")} <= {"matmul"}
    assert {name for name in vars(DeviceArray) if not hasattr(cupy.ndarray, name)} == {"_host"}
