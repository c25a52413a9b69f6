"""How large an aberration may be before it matters, and the microscopists' names of aberrations."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ptylive.schema.optics import KRIVANEK_ORDERS

ABERRATION_TITLES: Mapping[str, str] = {
    "C10": "defocus",
    "C12": "astigmatism",
    "C21": "coma",
    "C23": "threefold astigmatism",
    "C30": "spherical aberration",
    "C32": "star aberration",
    "C34": "fourfold astigmatism",
}
"""Krivanek's coefficient -> its name in electron microscopy."""
QUARTER_PI_OF_CYCLE = 0.125
"""pi / 4 over 2 pi."""


def quarter_pi_limit_A(name: str, wavelength_A: float, semiangle_mrad: float) -> float:
    """The magnitude of an aberration (`C10`, `C12`, …), Å, that shifts the phase by pi/4 at the aperture's rim.

    chi = 2 pi / lambda · C alpha^(n+1) / (n+1) = pi / 4 (docs/conventions.md). Infinite for an aperture of 0. Raises
    KeyError for an unknown name.
    """
    order = KRIVANEK_ORDERS[name][0] + 1
    rim = (semiangle_mrad * 1e-3) ** order
    return QUARTER_PI_OF_CYCLE * order * wavelength_A / rim if rim > 0 else math.inf
