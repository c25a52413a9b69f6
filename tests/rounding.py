"""How closely numbers in single precision can agree: what several tests compare with."""

U = 2.0**-24
"""Single precision rounds by at most this share (6e-8)."""
SINGLE = 480 * U
"""Share (2.9e-5) that a loss or gradient of the forward model in single precision may be off, of its norm.

Waves go through at most 160 passes of butterflies (four slices of 32 x 32 pixels, or two of 512 x 512, there and back),
each of which rounds some three times. Roundings that know nothing of each other add up to sqrt(480) u, 1.3e-6: what is
seen. Those of a processor with other instructions may all point the same way: then they add up to 480 u. So do the sums
of a pattern's pixels (at most sqrt(2304) u, if one after the other). A wrong sign or factor, or a pattern left out,
changes either by a hundredth or more.
"""
SINGLE_SIGNED = 10 * SINGLE
"""The same of derivatives by corrections (distances, shifts, current, background): sums over pixels and waves with both
signs, which leave a tenth or less of the sum of magnitudes.
"""
DOUBLE, DOUBLE_SIGNED = (2 * share * 2.0**-53 / U for share in (SINGLE, SINGLE_SIGNED))
"""As :data:`SINGLE` (1.1e-13) and :data:`SINGLE_SIGNED` in double precision; what is compared with rounds as much."""
MAP_ROUNDING = 1e-5
"""Of the largest value of a map: as far as two ways to the same map may be apart (live and offline, frames in another
order, with a device or without). Coefficients differ by some 2e-7 then, and filters amplify what differs by at most
their dynamic range, some tens.
"""
