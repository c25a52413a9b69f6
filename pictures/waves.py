"""Waves in colours: hue is the phase, brightness the modulus; and the wheel that explains them."""

from __future__ import annotations

from functools import cache

import numpy as np

from ptylive.pictures.snapshot import Rgb
from ptylive.schema.model import Array, DoubleArray


@cache
def _hues() -> DoubleArray:
    """(256, 3) red, green and blue, 0 to 1, of phases from 0 around to 2 pi; about equally bright."""
    import colorcet

    colours = colorcet.palette["colorwheel"]
    return np.array([[int(colour[digit : digit + 2], 16) / 255 for digit in (1, 3, 5)] for colour in colours])


def wave_colours(wave: Array, largest: float | None = None) -> Rgb:
    """RGB (rows, cols, 3) of a complex picture: black where it is 0, full colour from the modulus ``largest`` on.

    ``largest`` None: the largest modulus present. Non-finite values are black.
    """
    wave = np.where(np.isfinite(wave), wave, 0)
    modulus = np.abs(wave)
    top = float(modulus.max(initial=0.0)) if largest is None else largest
    share = np.clip(modulus / max(top, 1e-30), 0, 1)
    hues = _hues()
    place = np.angle(wave) / (2 * np.pi) % 1 * len(hues)
    first = np.floor(place).astype(int) % len(hues)
    part = (place - np.floor(place))[..., None]
    colour = hues[first] * (1 - part) + hues[(first + 1) % len(hues)] * part
    return np.asarray(np.rint(255 * colour * share[..., None]), dtype=np.uint8)


def wheel(side: int = 256) -> Rgb:
    """The colours of all waves up to modulus 1: real part to the right, imaginary part up; white around."""
    axis = np.linspace(-1, 1, side)
    wave = axis[None, :] + 1j * axis[::-1, None]
    picture = wave_colours(wave, 1.0)
    picture[np.abs(wave) > 1] = 255
    return picture
