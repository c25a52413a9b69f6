"""A stand-in for cupy that needs no GPU and is as strict: whatever would fail on a device fails here.

Arrays are numpy arrays in a wrapper. Mixing host and device is refused as cupy (14, read in its source) refuses it,
reductions stay on the device, and every transfer between host and device is counted in ``device.traffic``.

Transforms are scipy's, like those of the CPU path, so that both take the same course to the last bit or nearly.

It is stricter in three things that cupy silently accepts: indices out of bounds (cupy wraps them around), repeated
indices in ``a[index] = values`` (in cupy it is undefined which value stays), and functions missing from this list.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import scipy.fft
from device_traffic import Traffic

ON_CARD = False
"""Whether ``device`` is a GPU (``pytest --card``)."""
SUPPORTED = "?bBhHiIlLqQefdFD"
SCATTERED = "iIQefd"
"""Types that cupy adds atomically (``add.at``); neither int64 nor complex numbers are among them."""
PRODUCTS = {"dot", "inner", "outer", "tensordot", "vdot"}
COMPARISONS = {"greater", "greater_equal", "less", "less_equal", "equal", "not_equal"}
KEYWORDS = {"axis", "axes", "dtype", "out", "keepdims", "norm", "n", "s", "copy", "casting", "optimize", "ord"}


def _is_scalar(value: object) -> bool:
    return type(value) in (int, float, bool, complex) or isinstance(value, np.generic)


def _host(value):
    """The numpy array in a device array; scalars unchanged. Anything else is refused, as cupy does."""
    if isinstance(value, DeviceArray):
        return value._host
    if value is None or _is_scalar(value):
        if device.traffic.numbers is not None:
            device.traffic.numbers.append(value)
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def _device(value):
    """Put numpy's result back on the device: numbers become 0-d arrays."""
    if isinstance(value, tuple):
        return tuple(_device(each) for each in value)
    return DeviceArray(np.asarray(value))


def _keywords(given: dict) -> dict:
    unknown = given.keys() - KEYWORDS
    if unknown:
        raise TypeError(f"cupy has no such keyword here: {sorted(unknown)}")
    return {name: _host(value) if name == "out" else value for name, value in given.items()}


def _index(key) -> tuple[tuple, bool]:
    """An index for numpy, and whether it makes a copy; ints give 0-d views, as on a device."""
    parts, copies, masks = [], False, 0
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, DeviceArray | np.ndarray | list):
            if not isinstance(part, DeviceArray):
                device.traffic.to_device += 1  # cupy sends it silently
            chosen = part._host if isinstance(part, DeviceArray) else np.asarray(part)
            if chosen.dtype.kind not in "biu":
                raise IndexError("arrays used as indices must be of integer or boolean type")
            if chosen.dtype.kind == "b":
                masks += 1
                device.traffic.to_host += 1  # the host needs the size of the result
            parts.append(chosen)
            copies = True
            continue
        if isinstance(part, slice):
            if any(isinstance(end, DeviceArray) for end in (part.start, part.stop, part.step)):
                raise TypeError("slices are bounded by numbers of the host")
        elif not (part is None or part is Ellipsis or isinstance(part, int | np.integer)):
            raise IndexError(f"not an index on a device: {type(part)}")
        parts.append(part)
    if masks > 1:
        raise NotImplementedError("more than one mask in an index")
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    return tuple(parts), copies


def _refuse_repeated(shape: tuple[int, ...], key: tuple) -> None:
    touched = np.arange(int(np.prod(shape))).reshape(shape)[key]
    if np.unique(touched).size < touched.size:
        raise AssertionError("which of several values stays at a repeated index is undefined on a device")


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """See cupy.ndarray."""

    __array_priority__ = 100
    __hash__ = None
    __slots__ = ("_host",)

    def __init__(self, host: np.ndarray) -> None:
        if host.dtype.char not in SUPPORTED:
            raise ValueError(f"Unsupported dtype {host.dtype}")
        self._host = host

    T = property(lambda self: DeviceArray(self._host.T))

    @property
    def real(self):
        return DeviceArray(self._host.real)

    @real.setter
    def real(self, value):
        self._host.real = _host(value)

    @property
    def imag(self):
        return DeviceArray(self._host.imag)

    @imag.setter
    def imag(self, value):
        self._host.imag = _host(value)

    def get(self):
        """A copy on the host."""
        device.traffic.to_host += 1
        return self._host.copy()

    def set(self, host):
        """Values of an array on the host."""
        assert isinstance(host, np.ndarray) and (host.shape, host.dtype) == (self.shape, self.dtype)
        device.traffic.to_device += 1
        self._host[...] = host

    def item(self):
        return self.get().item()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __bool__(self):
        return bool(self.get())

    def __repr__(self):
        return repr(self._host)

    def __format__(self, spec):
        return format(self.get(), spec)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__" or not isinstance(getattr(device, ufunc.__name__, None), Ufunc):
            return NotImplemented
        out = kwargs.pop("out", ())
        if any(not (isinstance(x, DeviceArray | np.ndarray) or _is_scalar(x)) for x in (*inputs, *out)):
            return NotImplemented
        if ufunc.__name__ in COMPARISONS:
            inputs = tuple(x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in inputs)
        if out:
            (kwargs["out"],) = out
        return getattr(device, ufunc.__name__)(*inputs, **kwargs)

    def __array_function__(self, func, types, args, kwargs):
        module = device
        for name in (func.__module__ or "").split(".")[1:]:
            module = getattr(module, name, None)
        found = getattr(module, func.__name__, None)
        return NotImplemented if found is None else found(*args, **kwargs)

    def __getitem__(self, key):
        key, copies = _index(key)
        found = self._host[key]
        return DeviceArray(found.copy() if copies else found)

    def __setitem__(self, key, value):
        key, scatters = _index(key)
        if isinstance(value, DeviceArray):
            value = value._host
        elif isinstance(value, np.ndarray | list) and scatters:
            device.traffic.to_device += 1  # cupy sends it silently
        elif isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        elif not isinstance(value, np.ndarray) and not _is_scalar(value):
            raise TypeError(f"Unsupported type {type(value)}")
        if scatters and np.ndim(value):
            _refuse_repeated(self.shape, key)
        self._host[key] = value

    def fill(self, value):
        self[...] = value

    def astype(self, dtype, copy=True):
        return DeviceArray(self._host.astype(dtype, copy=copy))

    def dot(self, other):
        return device.dot(self, other)


def _method(name: str):
    def method(self, *args, **kwargs):
        return _device(getattr(self._host, name)(*args, **_keywords(kwargs)))

    return method


def _attribute(name: str) -> property:
    return property(lambda self: getattr(self._host, name))


for _name in "shape dtype ndim size itemsize nbytes strides flags".split():
    setattr(DeviceArray, _name, _attribute(_name))
for _name in (
    "all any argmax argmin argsort clip conj conjugate copy cumsum diagonal flatten max mean min nonzero prod ravel"
    " repeat reshape squeeze std sum swapaxes trace transpose var view"
).split():
    setattr(DeviceArray, _name, _method(_name))


class Ufunc:
    """See cupy.ufunc."""

    def __init__(self, ufunc: np.ufunc) -> None:
        self._ufunc = ufunc

    def __call__(self, *args, **kwargs):
        out = kwargs.get("out")
        if out is None and len(args) > self._ufunc.nin:  # cupy treats it as a further argument
            *args, out = args
        if out is not None and not isinstance(out, DeviceArray):
            raise TypeError("Output arguments type must be cupy.ndarray")
        device.traffic.products += self._ufunc is np.matmul
        result = self._ufunc(*(_host(x) for x in args), **{**_keywords(kwargs), "out": _host(out)})
        return _device(result) if out is None else out

    def at(self, array, indices, values):
        if self._ufunc not in (np.add, np.subtract, np.maximum, np.minimum):
            raise NotImplementedError(f"{self._ufunc.__name__}.at")
        if not isinstance(array, DeviceArray) or array.dtype.char.replace("l", "q") not in SCATTERED:
            raise TypeError(f"at does not support {getattr(array, 'dtype', type(array))}")
        key, _ = _index(indices)
        self._ufunc.at(array._host, key, _host(values))


class Function:
    """A function of arrays that is not a ufunc: arrays of the device, alone or in a sequence, and plain settings."""

    def __init__(self, function) -> None:
        self._function = function

    def __call__(self, *args, **kwargs):
        if not any(isinstance(x, DeviceArray) for arg in args for x in (arg if isinstance(arg, list) else [arg])):
            raise TypeError(f"{self._function.__name__} of no array of the device")
        device.traffic.products += self._function.__name__ in PRODUCTS
        return _device(self._function(*(self._argument(arg) for arg in args), **_keywords(kwargs)))

    @staticmethod
    def _argument(arg):
        """Arrays out of their wrappers; ints, axes and shapes unchanged."""
        if isinstance(arg, list | tuple) and any(isinstance(x, DeviceArray | np.ndarray) for x in arg):
            if not all(isinstance(x, DeviceArray) for x in arg):
                raise TypeError("Only cupy arrays can be concatenated")
            return [x._host for x in arg]
        if isinstance(arg, np.ndarray):
            raise TypeError(f"Unsupported type {type(arg)}")
        return arg._host if isinstance(arg, DeviceArray) else arg


class _Bincount(Function):
    def __call__(self, *args, **kwargs):
        device.traffic.to_host += 2  # it reads the smallest and the largest value
        return super().__call__(*args, **kwargs)


class _Einsum(Function):
    def __call__(self, subscripts, *operands, **kwargs):
        device.traffic.products += 1
        return _device(np.einsum(subscripts, *(self._argument(each) for each in operands), **_keywords(kwargs)))


class _Where(Function):
    def __call__(self, condition, x=None, y=None):
        if not isinstance(condition, DeviceArray):
            raise AttributeError(f"{type(condition)} has no astype(copy=)")
        if x is None:
            device.traffic.to_host += 1
            return _device(np.where(condition._host))
        return _device(np.where(condition._host.astype(bool), _host(x), _host(y)))


def _made(function):
    """A function that makes an array from numbers."""

    def make(*args, **kwargs):
        if any(isinstance(x, DeviceArray | np.ndarray) for x in (*args, *kwargs.values())):
            raise TypeError("numbers of the host are asked for")
        return DeviceArray(function(*args, **kwargs))

    return make


def _like(function):
    """A function that makes an array like another one."""

    def make(array, *args, **kwargs):
        if not isinstance(array, DeviceArray):
            raise TypeError(f"Unsupported type {type(array)}")
        return DeviceArray(function(array._host, *args, **kwargs))

    return make


def _asarray(a, dtype=None):
    if isinstance(a, DeviceArray):
        return DeviceArray(np.asarray(a._host, dtype))
    if isinstance(a, list | tuple) and any(isinstance(x, DeviceArray) for x in a):
        return DeviceArray(np.asarray([_host(x) for x in a], dtype))
    device.traffic.to_device += 1
    made = np.array(a, dtype)
    return DeviceArray(made.astype(made.dtype.newbyteorder("="), copy=False))


def _array(a, dtype=None, copy=True):
    made = _asarray(a, dtype)
    return made.copy() if copy and isinstance(a, DeviceArray) else made


UFUNCS = (
    "add subtract multiply divide true_divide floor_divide remainder power matmul negative positive absolute sqrt"
    " square exp expm1 log log1p log2 log10 sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh hypot sign floor"
    " ceil rint conj conjugate maximum minimum fmax fmin clip greater greater_equal less less_equal equal not_equal"
    " isfinite isnan isinf logical_and logical_or logical_not bitwise_and bitwise_or bitwise_xor invert"
)
FUNCTIONS = (
    "all any amax amin angle argmax argmin argsort average bincount broadcast_to concatenate count_nonzero cross cumsum"
    " diff dot flip imag inner max mean median min moveaxis nan_to_num outer percentile prod ravel real repeat reshape"
    " roll sort split stack std sum swapaxes take tensordot tile trace transpose unique unwrap var vdot expand_dims"
    " squeeze"
)
MADE = "arange empty eye full linspace ones zeros"
LIKE = "empty_like full_like ones_like zeros_like"
SHARED = (
    "bool_ int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64 complex64 complex128 dtype pi e"
    " inf nan newaxis finfo iinfo result_type"
)
FFT = "fft ifft rfft irfft fft2 ifft2 fftn ifftn rfft2 irfft2 fftshift ifftshift"
LINALG = "eigh norm inv solve qr svd"


def _module(name: str, functions: str, of: ModuleType) -> ModuleType:
    made = ModuleType(name)
    for each in functions.split():
        setattr(made, each, Function(getattr(of, each)))
    return made


def _strict_device() -> ModuleType:
    made = _module("cupy", FUNCTIONS, np)
    for name in UFUNCS.split():
        found = getattr(np, name)
        setattr(made, name, Ufunc(found) if isinstance(found, np.ufunc) else Function(found))
    for name in MADE.split():
        setattr(made, name, _made(getattr(np, name)))
    for name in LIKE.split():
        setattr(made, name, _like(getattr(np, name)))
    for name in SHARED.split():
        setattr(made, name, getattr(np, name))
    made.fft, made.linalg = _module("cupy.fft", FFT, scipy.fft), _module("cupy.linalg", LINALG, np.linalg)
    made.fft.fftfreq = _made(np.fft.fftfreq)
    made.abs, made.ndarray, made.traffic = made.absolute, DeviceArray, Traffic()
    made.asarray, made.array = _asarray, _array
    made.ascontiguousarray = lambda a, dtype=None: DeviceArray(np.ascontiguousarray(_asarray(a, dtype)._host))
    made.bincount, made.einsum, made.where = _Bincount(np.bincount), _Einsum(np.einsum), _Where(np.where)
    made.asnumpy = lambda a: a.get() if isinstance(a, DeviceArray) else np.asarray(a)
    return made


device = _strict_device()
"""Use this where cupy would be used."""
