"""The scan of a draw, by abTEM's multislice algorithm.

    python -m benchmarks.zoo.simulate OUT.h5 DRAW.json

Runs where abTEM is installed, and requires nothing of ptylive. Each probe is propagated in a window of twice the
detector's real-space window, so that a pixel of the detector is a sum of two by two and nothing wraps around.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.draws import Draw

Floats = NDArray[np.floating[Any]]
BINNING = 2
OVERSAMPLING = 1.55
"""Highest frequency of the simulation's grid over that of the detector; abTEM uses two thirds of it."""
BLOCK_A = 4.0
"""Side of a block whose probes are propagated in one window."""
SLICE_A = {"sheet": 2.0, "particles": 3.0, "crystal": 4.0, "heavy": 2.0, "protein": 12.0, "film": 5.0}
MARGIN_A = 4.0
"""Margin of the truth beyond the outermost positions."""


@dataclass
class Scan:
    """Contents of a simulated scan. ``positions``: Å, (rows, points + flyback, 2), in the frame of ``phase``."""

    counts: NDArray[np.uint16]
    """(rows, points + flyback, Qy, Qx), in acquisition order."""
    bad: NDArray[np.bool_]
    centre: tuple[float, float]
    """Position of the beam in recorded coordinates, without descan."""
    positions: Floats
    nominal: Floats
    slices: Floats
    """Phase in rad of each slab (slabs, y, x), entrance side first."""
    sampling_A: float
    probe: NDArray[np.complex64]
    """(n, n), centred, at the entrance plane, sum of squares 1."""
    thickness_A: float
    seconds: float
    detected: float = field(default=1.0)
    """Fraction of the electrons that hit the detector."""


def main() -> None:
    from benchmarks.zoo.files import write

    out, settings = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    drawn = Draw(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})
    write(out, drawn, simulate(drawn))


def simulate(drawn: Draw) -> Scan:
    """The whole scan of a draw; deterministic for a given draw."""
    import abtem

    from benchmarks.zoo.atoms import specimen

    abtem.config.set({"precision": "float32", "device": "cpu", "diagnostics.progress_bar": False})
    began = time.process_time()
    rng = np.random.default_rng([drawn.seed, len(drawn.set), drawn.index, 7])
    nominal, positions = scan_positions(drawn, rng)
    grid = Grid.of(drawn, positions)
    middle = (positions.reshape(-1, 2).max(0) + positions.reshape(-1, 2).min(0)) / 2
    nominal, positions = nominal - middle + grid.side_A / 2, positions - middle + grid.side_A / 2
    atoms = specimen(drawn.specimen, grid.side_A, drawn.thickness_A, rng)
    intensity, phase, distances = _patterns(drawn, grid, atoms, positions.reshape(-1, 2), rng)
    detected = float(intensity.sum((1, 2)).mean())
    counts = rng.poisson(intensity * drawn.electrons).clip(0, 65534).astype(np.uint16)
    centre = tuple(drawn.pixels // 2 + offset for offset in drawn.beam_offset_px)
    bad = _bad_pixels(drawn, centre, rng)
    counts[:, bad] = 65535
    counts = counts.reshape(*positions.shape[:2], *counts.shape[1:])
    counts, bad, centre = transformed(drawn.transform, counts, bad, centre)
    slices = _slabs(phase, distances, drawn.slices)
    corner, cut = _cut(slices, positions, grid.sampling_A)
    return Scan(
        counts,
        bad,
        centre,
        positions - corner,
        nominal - corner,
        cut,
        grid.sampling_A,
        detector_probe(drawn, grid),
        float(distances.sum()),
        time.process_time() - began,
        detected,
    )


@dataclass(frozen=True)
class Grid:
    """Sampling of the simulation: pixels of a probe's window and of the whole specimen."""

    window: int
    window_A: float
    pixels: int

    @classmethod
    def of(cls, drawn: Draw, positions: Floats) -> Grid:
        """A grid that holds the scan, with a detector's window around each position."""
        from scipy.fft import next_fast_len

        window = _even_fast(int(BINNING * drawn.pixels * OVERSAMPLING))
        side = BINNING * drawn.window_A
        flat = positions.reshape(-1, 2)
        needed = max(float(np.ptp(flat, axis=0).max()) + 0.75 * side, side)
        return cls(window, side, int(next_fast_len(int(np.ceil(needed / side * window)))))

    @property
    def sampling_A(self) -> float:
        """Side of a pixel."""
        return self.window_A / self.window

    @property
    def side_A(self) -> float:
        """Side of the specimen's box."""
        return self.pixels * self.sampling_A


def _even_fast(size: int) -> int:
    from scipy.fft import next_fast_len

    while size % 2 or next_fast_len(size) != size:
        size += 1
    return size


def rotation(degrees: float) -> Floats:
    """Rotation matrix from the scan's axes to the detector's."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s], [s, c]])


def scan_positions(drawn: Draw, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Nominal and true positions in Å, (rows, points + flyback, 2), in acquisition order, from the scan's middle."""
    rows, columns = drawn.shape
    i, j = np.meshgrid(np.arange(rows, dtype=float), np.arange(columns, dtype=float), indexing="ij")
    if drawn.pattern == "snake":
        j[1::2] = j[1::2, ::-1]
    if drawn.flyback:
        back = (np.arange(drawn.flyback) + 1) / (drawn.flyback + 1)
        last = j[:, -1:] + back * (np.roll(j[:, :1], -1, axis=0) - j[:, -1:])
        i, j = np.concatenate([i, i[:, -1:] + back], 1), np.concatenate([j, last], 1)
    nominal = np.stack([i - (rows - 1) / 2, j - (columns - 1) / 2], -1) * drawn.step_A @ rotation(drawn.rotation_deg).T
    progress = np.linspace(-0.5, 0.5, i.size).reshape(*i.shape, 1)
    moved = progress * np.asarray(drawn.drift_A) + rng.normal(0, 1, nominal.shape) * drawn.jitter_A
    return nominal, nominal + moved


def descan(drawn: Draw) -> Floats:
    """Shift of each pattern in pixels of the detector, (rows, points + flyback, 2)."""
    rows, columns = drawn.shape[0], drawn.shape[1] + drawn.flyback
    slow = np.broadcast_to(np.linspace(-0.5, 0.5, rows)[:, None], (rows, columns))
    fast = np.broadcast_to(np.linspace(-0.5, 0.5, columns), (rows, columns))
    if drawn.pattern == "snake":
        fast = fast.copy()
        fast[1::2] = fast[1::2, ::-1]
    by_row, by_col = np.reshape(drawn.descan_px, (2, 2))
    return np.stack([by_row[0] * slow + by_row[1] * fast, by_col[0] * slow + by_col[1] * fast], -1)


def transformed(
    words: str, counts: NDArray[np.uint16], bad: NDArray[np.bool_], centre: tuple[float, ...]
) -> tuple[NDArray[np.uint16], NDArray[np.bool_], tuple[float, float]]:
    """Patterns, mask and beam centre as the detector records them."""
    row, col = centre
    for word in words.split("+"):
        if word == "transpose":
            counts, bad, (row, col) = counts.swapaxes(-1, -2), bad.T, (col, row)
        elif word == "flip_rows":
            counts, bad, row = counts[..., ::-1, :], bad[::-1], bad.shape[0] - 1 - row
        elif word == "flip_cols":
            counts, bad, col = counts[..., ::-1], bad[:, ::-1], bad.shape[1] - 1 - col
        elif word != "none":
            raise ValueError(f"no detector transform {word!r}")
    return np.ascontiguousarray(counts), np.ascontiguousarray(bad), (row, col)


def _patterns(
    drawn: Draw, grid: Grid, atoms: Any, positions: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Mean intensities (N, n, n) of unit sum before the specimen; phase (slices, y, x) in rad; thicknesses in Å."""
    import abtem
    from abtem.core.energy import energy2sigma
    from scipy.stats import norm

    from benchmarks.zoo.atoms import VIBRATION_A

    count = drawn.configurations
    spread = norm.ppf((np.arange(count) + 0.5) / count)
    spread = rng.permutation(spread / (spread.std() or 1)) * drawn.focal_spread_A
    start = rng.random(len(positions)) * 2 * np.pi
    vibration = np.array([VIBRATION_A.get(symbol, 0.08) for symbol in atoms.get_chemical_symbols()])[:, None]
    height = float(atoms.cell.lengths()[2])
    number, layer = layers_of(height, SLICE_A[drawn.kind])
    shifts = (descan(drawn).reshape(-1, 2) + drawn.beam_offset_px + 0.5 / BINNING) / drawn.window_A
    intensity = np.zeros((len(positions), drawn.pixels, drawn.pixels), np.float32)
    mean = np.zeros((number, grid.pixels, grid.pixels), np.float32)
    for turn in range(count):
        moved = atoms.copy()
        moved.positions += rng.normal(size=moved.positions.shape) * vibration
        moved.positions[:, 2] = moved.positions[:, 2].clip(0.01, height - 0.01)
        moved.wrap(pbc=(True, True, False))
        potential = abtem.Potential(
            moved, gpts=grid.pixels, slice_thickness=layer, parametrization="lobato", projection="infinite"
        ).build(lazy=False)
        layers = np.asarray(potential.array, np.float32).reshape(-1, grid.pixels, grid.pixels)
        mean += layers / count
        probe = abtem_probe(drawn, grid, drawn.defocus_A + float(spread[turn]))
        angle = start + 2 * np.pi * turn / count
        source = drawn.source_A * np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], 1)
        for chosen, waves in _exit_waves(probe, grid, layers, potential.slice_thickness, positions + source):
            intensity[chosen] += _recorded(waves, shifts[chosen], grid, drawn.pixels) / count
    blank = _recorded(_built(abtem_probe(drawn, grid, 0.0))[None], np.zeros((1, 2)), grid, 0).sum()
    phase = mean * np.float32(energy2sigma(drawn.energy_eV))
    return intensity / blank, phase, np.asarray(potential.slice_thickness, float)


def layers_of(height: float, target: float) -> tuple[int, float]:
    """Number of layers of about that thickness, and the thickness to request from abTEM.

    abTEM uses as many equal layers as necessary. The exact quotient of the height is sometimes too thin by a rounding
    error, and would add another layer.
    """
    number = max(1, round(height / target))
    return number, height / number * (1 + 1e-9)


def abtem_probe(drawn: Draw, grid: Grid, defocus: float) -> Any:
    """The probe in a window of the simulation."""
    import abtem

    return abtem.Probe(
        energy=drawn.energy_eV,
        semiangle_cutoff=drawn.semiangle_mrad,
        defocus=defocus,
        astigmatism=drawn.astigmatism_A,
        astigmatism_angle=float(np.deg2rad(drawn.astigmatism_deg)),
        extent=grid.window_A,
        gpts=grid.window,
        soft=True,
    )


def _built(probe: Any) -> NDArray[np.complex64]:
    """A probe's wave at the origin."""
    built = np.asarray(probe.build((0.0, 0.0), lazy=False).array, np.complex64)
    return built.reshape(built.shape[-2:])


def _exit_waves(probe: Any, grid: Grid, layers: Floats, thicknesses: Any, positions: Floats) -> Any:
    """Yield indices and exit waves of one block of positions after another."""
    import abtem

    core = max(1, int(min(BLOCK_A, 0.1 * grid.window_A) / grid.sampling_A))
    block = np.floor(positions / grid.sampling_A / core).astype(int)
    for key in np.unique(block, axis=0):
        chosen = np.flatnonzero((block == key).all(1))
        corner = key * core + core // 2 - grid.window // 2
        rows, columns = ((c + np.arange(grid.window)) % grid.pixels for c in corner)
        cut = np.ascontiguousarray(layers[:, rows][:, :, columns])
        potential = abtem.PotentialArray(cut, slice_thickness=thicknesses, extent=(grid.window_A,) * 2)
        local = positions[chosen] - corner * grid.sampling_A
        for first in range(0, len(chosen), 64):
            chunk = slice(first, first + 64)
            waves = probe.multislice(potential, scan=abtem.CustomScan(local[chunk]), lazy=False)
            yield chosen[chunk], np.asarray(waves.array)


def _recorded(waves: NDArray[np.complex64], shifts: Floats, grid: Grid, pixels: int) -> Floats:
    """Intensities of exit waves on the detector's pixels, shifted by frequencies in 1/Å; ``pixels`` 0: on all."""
    from scipy import fft

    along = np.arange(grid.window) * grid.sampling_A
    ramps = [np.exp(2j * np.pi * shifts[:, axis, None] * along).astype(np.complex64) for axis in (0, 1)]
    spectrum = fft.fft2(waves * ramps[0][:, :, None] * ramps[1][:, None, :])
    fine = np.fft.fftshift(spectrum.real**2 + spectrum.imag**2, axes=(1, 2))
    if not pixels:
        return fine
    first = grid.window // 2 - BINNING * (pixels // 2)
    part = slice(first, first + BINNING * pixels)
    return fine[:, part, part].reshape(len(waves), pixels, BINNING, pixels, BINNING).sum((2, 4))


def _bad_pixels(drawn: Draw, centre: tuple[float, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Pixels that always report the highest number, the first of them within the bright-field disc."""
    bad = np.zeros((drawn.pixels, drawn.pixels), bool)
    if drawn.bad_pixels:
        places = rng.integers(0, drawn.pixels, (drawn.bad_pixels, 2))
        radius = drawn.pixels / 2 / drawn.cutoff
        places[0] = np.round(np.asarray(centre) + rng.uniform(-0.6, 0.6, 2) * radius).astype(int)
        bad[places[:, 0], places[:, 1]] = True
    return bad


def _slabs(phase: Floats, thicknesses: Floats, count: int) -> Floats:
    """Layers combined into slabs of equal thickness."""
    depth = np.cumsum(thicknesses) - thicknesses / 2
    slab = np.minimum((depth / thicknesses.sum() * count).astype(int), count - 1)
    return np.stack([phase[slab == number].sum(0) for number in range(count)])


def _cut(slices: Floats, positions: Floats, sampling: float) -> tuple[Floats, Floats]:
    """The part around the positions, and the position of its first pixel in Å."""
    flat = positions.reshape(-1, 2)
    low = np.maximum(np.floor((flat.min(0) - MARGIN_A) / sampling).astype(int), 0)
    high = np.ceil((flat.max(0) + MARGIN_A) / sampling).astype(int) + 1
    return low * sampling, slices[:, low[0] : high[0], low[1] : high[1]]


def detector_probe(drawn: Draw, grid: Grid) -> NDArray[np.complex64]:
    """The probe on the detector's own real-space grid, centred, nominal aberrations, sum of squares 1."""
    spectrum = np.fft.fftshift(np.fft.fft2(_built(abtem_probe(drawn, grid, drawn.defocus_A))))
    half, pixels = BINNING * drawn.pixels // 2, drawn.pixels
    middle = slice(grid.window // 2 - half, grid.window // 2 + half)
    wave = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectrum[middle, middle])))
    inner = slice(half - pixels // 2, half - pixels // 2 + pixels)
    wave = wave[inner, inner]
    return (wave / np.sqrt((np.abs(wave) ** 2).sum())).astype(np.complex64)


if __name__ == "__main__":
    main()
