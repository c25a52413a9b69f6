"""How closely numbers in single precision can agree: tolerances of several tests."""

U = 2.0**-24
"""Single precision rounds by at most this fraction (6e-8)."""
SINGLE = 480 * U
"""Relative error (2.9e-5) allowed for a loss or gradient of the forward model in single precision, of its norm.

Waves go through at most 160 passes of butterflies (four slices of 32 x 32 pixels, or two of 512 x 512, there and back),
each of which rounds about three times. Independent rounding errors add up to sqrt(480) u, 1.3e-6, which is what is
seen. On a processor with other instructions they may all have the same sign and add up to 480 u. The same holds for the
sums of a pattern's pixels (at most sqrt(2304) u, if added one after the other). A wrong sign or factor, or a missing
pattern, changes either by a hundredth or more.
"""
SINGLE_SIGNED = 10 * SINGLE
"""The same for derivatives by corrections (distances, shifts, current, background): sums over pixels and waves of both
signs, which leave a tenth or less of the sum of magnitudes.
"""
DOUBLE, DOUBLE_SIGNED = (2 * share * 2.0**-53 / U for share in (SINGLE, SINGLE_SIGNED))
"""As :data:`SINGLE` (1.1e-13) and :data:`SINGLE_SIGNED`, in double precision; the reference rounds as much."""
MAP_ROUNDING = 1e-5
"""Allowed difference, relative to the largest value of a map, between two ways to the same map (live and offline,
frames in another order, with or without a device). Coefficients then differ by about 2e-7, and filters amplify
differences by at most their dynamic range, some tens.
"""
