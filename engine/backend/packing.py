"""How long vectors are packed in 16 bits, a scale for every block of numbers; numpy only, so that it loads fast."""

from __future__ import annotations

import numpy as np

BLOCK = 1 << 10
"""Numbers that share a scale: they lie in the same rows of the object, and a scale more is a 500th of them."""
LARGEST = 32767
NOTHING = np.float32(1e-30)
"""What is smaller is 0: its inverse would not be a number of single precision."""
