"""How long vectors are packed in 16 bits, with a scale for every block; numpy only, so that it loads fast."""

from __future__ import annotations

import numpy as np

BLOCK = 1 << 10
"""Numbers that share a scale: they lie in the same rows of the object, and the scale adds a 500th to their size."""
LARGEST = 32767
NOTHING = np.float32(1e-30)
"""Smaller values are 0: their inverse would not be finite in single precision."""
