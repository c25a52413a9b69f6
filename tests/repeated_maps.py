"""Maps of scans of random places, made without a scan: a smooth random field, shifted, with noise."""

import numpy as np

from ptylive.engine.repeats import RepeatedScan
from ptylive.schema.maps import LiveMap, RingQuality

SIDE, STEP_A, RINGS = 64, 0.5, 14


def place(seed: int, side: int = 3 * SIDE, blur_A: float = 0.6) -> np.ndarray:
    """A periodic field (side, side) with standard deviation 1."""
    made = _filtered(np.random.default_rng(seed).normal(size=(side, side)), blur_A)
    return made / made.std()


def lattice(period_px: float, side: int = 3 * SIDE) -> np.ndarray:
    """A square lattice of cosines."""
    turned = np.cos(2 * np.pi * np.arange(side) / period_px)
    return turned[:, None] + turned


def scanned(field: np.ndarray, shift: tuple[float, float], noise: float, seed: int, name: str = "") -> RepeatedScan:
    """A scan of the field's middle that shows p at p + shift, pixels; noise: its standard deviation."""
    q = [np.fft.fftfreq(n) for n in field.shape]
    turned = np.exp(-2j * np.pi * (q[0][:, None] * shift[0] + q[1] * shift[1]))
    moved = np.fft.ifft2(np.fft.fft2(field) * turned).real[SIDE : 2 * SIDE, SIDE : 2 * SIDE]
    rng = np.random.default_rng([seed, 5])
    halves = [moved + rng.normal(0, noise * np.sqrt(2), moved.shape) for _ in range(2)]
    data = (0.5 * (halves[0] + halves[1])).astype(np.float32)
    live_map = LiveMap("obf", data, "rad", (STEP_A, STEP_A), SIDE**2, "drawn", quality=_quality(halves))
    return RepeatedScan(f"{seed}{name}", f"scan{seed}{name}", live_map, (80e3, 25.0), 100.0, "e")


def _quality(halves: list[np.ndarray]) -> RingQuality:
    first, second = (np.fft.fft2(half - half.mean()) for half in halves)
    q = np.hypot(*np.meshgrid(*(np.fft.fftfreq(SIDE, STEP_A),) * 2))
    ring = np.minimum((q / (0.5 / STEP_A) * RINGS).astype(int), RINGS).ravel()
    cross, *own = (
        np.bincount(ring, values.ravel(), minlength=RINGS + 1)[:RINGS]
        for values in ((first * second.conj()).real, np.abs(first) ** 2, np.abs(second) ** 2)
    )
    correlation = cross / np.sqrt(own[0] * own[1])
    share = np.clip(2 * correlation / (1 + np.abs(correlation)), 0, 1)
    return RingQuality((np.arange(RINGS) + 0.5) * 0.5 / STEP_A / RINGS, share, correlation)


def _filtered(values: np.ndarray, blur_A: float) -> np.ndarray:
    q = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, STEP_A) for n in values.shape), indexing="ij"))
    return np.fft.ifft2(np.fft.fft2(values) * np.exp(-2 * (np.pi * q * blur_A) ** 2)).real
