"""Logarithm, sine and cosine of one number, in its own precision, by polynomials.

Those of numpy are calls, and a loop with a call is not vectorised. Both precisions have the same interface; only the
approximating polynomials differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

FAST = {"fastmath": True, "error_model": "numpy", "boundscheck": False}
LN_2, ROOT_HALF = float(np.log(2)), float(np.sqrt(0.5))


def logarithm(value: Any) -> Any:
    """Natural logarithm of a positive, normal number; for compiled code only."""
    raise NotImplementedError(f"for compiled code, not for {value}")


def sine_and_cosine(x: Any) -> Any:
    """Sine and cosine of an angle within a quarter turn around 0, in radians; for compiled code only."""
    raise NotImplementedError(f"for compiled code, not for {x}")


def _log2_coefficients() -> tuple[np.float32, ...]:
    """Return the polynomial of degree 8 for log2(1.5 + x), |x| <= 0.5, lowest power first; within 2e-7."""
    x = 0.5 * np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    fit = np.polynomial.Chebyshev.fit(x, np.log2(1.5 + x), 8, domain=[-0.5, 0.5])
    return tuple(np.float32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


C0, C1, C2, C3, C4, C5, C6, C7, C8 = _log2_coefficients()
LN_2_SINGLE = np.float32(LN_2)
MANTISSA, ONE_BITS, EXPONENT_SHIFT, BIAS = np.int32(0x7FFFFF), np.int32(0x3F800000), np.int32(23), np.int32(127)
LONG_MANTISSA, LONG_ONE = np.int64(0xFFFFFFFFFFFFF), np.int64(0x3FF0000000000000)
LONG_SHIFT, LONG_BIAS = np.int64(52), np.int64(1023)
L1, L2, L3, L4 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01
L5, L6, L7 = 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01
"""Coefficients of (ln((1 + s) / (1 - s)) - 2 s) / s in s^2, |s| <= 0.1716 (Sun's fdlibm, e_log.c), within 2^-58."""

S3, S5, S7 = np.float32(-1.6666654e-1), np.float32(8.3321608e-3), np.float32(-1.9515296e-4)
K4, K6, K8 = np.float32(4.1666646e-2), np.float32(-1.3887316e-3), np.float32(2.4433157e-5)
"""Minimax polynomials of sine and cosine within a quarter turn around 0 (Cephes, sinf.c), within a bit or two."""
ONE, HALF = np.float32(1), np.float32(0.5)
LONG_SINE = (
    1.58962301576546568060e-10,
    -2.50507477628578072866e-8,
    2.75573136213857245213e-6,
    -1.98412698295895385996e-4,
    8.33333333332211858878e-3,
    -1.66666666666666307295e-1,
)
LONG_COSINE = (
    -1.13585365213876817300e-11,
    2.08757008419747316778e-9,
    -2.75573141792967388112e-7,
    2.48015872888517045348e-5,
    -1.38888888888730564116e-3,
    4.16666666666665929218e-2,
)
"""The same polynomials in double precision, highest power first (Cephes, sin.c)."""


@overload(logarithm, jit_options=FAST)
def _logarithm(value: Any) -> Any:
    return _logarithm_single if value == types.float32 else _logarithm_double


def _logarithm_single(value: Any) -> Any:
    bits = np.float32(value).view(np.int32)
    exponent = np.float32((bits >> EXPONENT_SHIFT) - BIAS)
    x = np.int32((bits & MANTISSA) | ONE_BITS).view(np.float32) - np.float32(1.5)
    high = ((C8 * x + C7) * x + C6) * x + C5
    return (exponent + ((((high * x + C4) * x + C3) * x + C2) * x + C1) * x + C0) * LN_2_SINGLE


def _logarithm_double(value: Any) -> Any:
    bits = np.float64(value).view(np.int64)
    exponent = np.float64((bits >> LONG_SHIFT) - LONG_BIAS)
    x = ROOT_HALF * np.int64((bits & LONG_MANTISSA) | LONG_ONE).view(np.float64)  # from 0.71 to 1.41
    s = (x - 1.0) / (x + 1.0)
    z = s * s
    series = z * (L1 + z * (L2 + z * (L3 + z * (L4 + z * (L5 + z * (L6 + z * L7))))))
    return (exponent + 0.5) * LN_2 + s * (2.0 + series)


@overload(sine_and_cosine, jit_options=FAST)
def _sine_and_cosine(x: Any) -> Any:
    return _turned_single if x == types.float32 else _turned_double


def _turned_single(x: Any) -> Any:
    z = x * x
    sine = x + x * z * (S3 + z * (S5 + z * S7))
    cosine = ONE - HALF * z + z * z * (K4 + z * (K6 + z * K8))
    return sine, cosine


def _turned_double(x: Any) -> Any:
    z = x * x
    s5, s4, s3, s2, s1, s0 = LONG_SINE
    c5, c4, c3, c2, c1, c0 = LONG_COSINE
    sine = x + x * z * (((((s5 * z + s4) * z + s3) * z + s2) * z + s1) * z + s0)
    cosine = 1.0 - 0.5 * z + z * z * (((((c5 * z + c4) * z + c3) * z + c2) * z + c1) * z + c0)
    return sine, cosine
