"""Distortion found on simulated rings with noise, compared with the ellipse that py4DSTEM fits to the same patterns.

    python -m benchmarks.rings DIR [--seeds 0,1,2,3,4] [--py4dstem-python PYTHON]

Rings of a powder (four), one ring, and one of an amorphous film; each distorted by an ellipse of up to 2 %, and also
with terms of second and third order of up to 1 %, without curl, in half-widths of the detector. A line for each: the
remaining error of patterns within 60 pixels of the middle (pixels, root mean square; size, rotation and position
removed), as recorded, corrected by the distortion found here, and by py4DSTEM's ellipse (``fit_ellipse_amorphous_ring``
on the brightest ring; it is given the true annulus and centre, and does not model higher terms).
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptylive.engine.calibrate.distortion.rings import GRADIENTS, of_rings
from ptylive.schema.pattern.distortion import recorded_at, true_places

Floats = NDArray[np.float64]
SHAPE, CENTER_PX, SUBPIXELS = (128, 128), (62.3, 65.1), 3
SPECIMENS = {"powder": ((22.0, 31.0, 38.0, 51.0), 1.5), "ring": ((35.0,), 1.5), "amorphous": ((30.0,), 6.0)}
"""Radii and width (standard deviation) of rings, pixels."""
COUNTS = 200.0
ELLIPSE, HIGHER = 0.02, 0.01
PEER = """
import json, sys
import numpy as np
from py4DSTEM.process.calibration.ellipse import fit_ellipse_amorphous_ring
for path in sys.argv[1:]:
    data = np.load(path)
    found, _ = fit_ellipse_amorphous_ring(data["counts"], data["center"], data["annulus"])
    print(json.dumps([float(x) for x in found]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--py4dstem-python", default="", help="interpreter that has py4DSTEM")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for specimen, (radii, width) in SPECIMENS.items():
        for kind in ("ellipse", "higher"):
            for seed in (int(text) for text in given.seeds.split(",")):
                true = drawn(seed, kind)
                counts = recorded(true, radii, width, seed)
                found = of_rings(counts, np.zeros(SHAPE, dtype=bool))
                line: dict[str, Any] = {"specimen": specimen, "distortion": kind, "seed": seed}
                line["recorded_px"] = left_px(np.zeros((9, 2)), true)
                line["freed_px"] = None if found is None else left_px(found.coefficients, true)
                if given.py4dstem_python:
                    path = given.folder / f"{specimen}_{kind}_{seed}.npz"
                    annulus = radii[0] - 2.5 * width, radii[0] + 2.5 * width
                    np.savez(path, counts=counts, center=CENTER_PX, annulus=annulus)
                    line["py4dstem_px"] = left_px(of_peer(given.py4dstem_python, path), true)
                print(json.dumps(line), flush=True)


def drawn(seed: int, kind: str) -> Floats:
    """Coefficients (9, 2) of a distortion."""
    shares = np.random.default_rng([seed, 5]).uniform(-1, 1, len(GRADIENTS))
    shares *= np.where(np.arange(len(shares)) < 2, ELLIPSE, HIGHER if kind == "higher" else 0.0)
    return np.asarray(np.tensordot(shares, GRADIENTS, axes=1))


def recorded(coefficients: Floats, radii: tuple[float, ...], width_px: float, seed: int) -> Floats:
    """Counts (Qy, Qx), each pixel by its area, of rings on a background, next to a bright beam."""
    inside = (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5
    mean = np.zeros(SHAPE)
    for offset in np.stack(np.meshgrid(inside, inside, indexing="ij"), axis=-1).reshape(-1, 2):
        pixels = np.argwhere(np.ones(SHAPE)) + offset
        r = np.hypot(*(true_places(pixels, coefficients, SHAPE) - CENTER_PX).T).reshape(SHAPE)
        rings = sum(np.exp(-((r - radius) ** 2) / (2 * width_px**2)) / (1 + n) for n, radius in enumerate(radii))
        mean += (COUNTS * rings + 60 * np.exp(-r / 25) + 5 + 5000 * (r < 4)) / SUBPIXELS**2
    return np.random.default_rng(seed).poisson(mean).astype(float)


def of_peer(python: str, path: Path) -> Floats:
    """Coefficients (9, 2) of the ellipse that py4DSTEM finds."""
    completed = subprocess.run([python, "-c", PEER, str(path)], capture_output=True, text=True, check=True)
    _, _, long, short, turn = json.loads(completed.stdout.splitlines()[-1])
    along = np.array([np.cos(turn), np.sin(turn)])
    mean = np.sqrt(long * short)
    stretch = np.outer(along, along) * (long / mean - short / mean) + np.eye(2) * (short / mean - 1)
    out = np.zeros((9, 2))
    out[:2] = stretch.T
    return out


def left_px(found: Floats, true: Floats) -> float:
    """Remaining error of positions apart from size, rotation and position, which rings do not reveal."""
    places = np.argwhere(np.ones(SHAPE))[::3].astype(float)
    places = places[np.hypot(*(places - (np.array(SHAPE) - 1) / 2).T) < 60]
    back = true_places(recorded_at(places, true, SHAPE), found, SHAPE)
    row, col = (places - CENTER_PX).T
    ones, zeros = np.ones_like(row), np.zeros_like(row)
    sides = ((row, col, ones, zeros), (col, -row, zeros, ones))
    design = np.concatenate([np.stack(side, axis=1) for side in sides])
    target = back.T.ravel()
    residual = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return round(float(np.sqrt(2 * np.mean(residual**2))), 4)


if __name__ == "__main__":
    main()
