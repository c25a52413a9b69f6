"""How well a refined object agrees with the truth of a shared data set: the zoo's scoring, at a blur of 0.15 Å."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo_scans  # noqa: F401  (makes the benchmarks importable)

from benchmarks.zoo.score import Reconstruction, Truth, correlation, level, score

BLUR_A = 0.15
SEARCH_A = 1.2
"""Less than the distance between neighbouring columns in any of these sets."""


def object_correlation(path: Path, result) -> float:
    """Correlation of a refinement's object with the truth."""
    return float(object_score(path, result)["corr"])


def object_score(path: Path, result) -> dict[str, Any]:
    """All scores of a refinement's object; ``slice_corr``: slice by slice, if the truth has the same number."""
    truth, slices = read_truth(path)
    phase = np.angle(result.object[0]).astype(float)
    found = Reconstruction(phase, tuple(result.object_sampling_A), tuple(result.origin_A))
    figures = score(truth, found)
    if len(slices) == len(phase) > 1:
        figures["slice_corr"] = slice_correlations(truth, slices, found, figures["shift_A"])
    return figures


def read_truth(path: Path) -> tuple[Truth, np.ndarray]:
    """The truth of a set, and its slices."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path) as file:
        told, truth = dict(file["metadata"].attrs), file["truth"]
        phase, slices = truth["phase"][()].astype(float), truth["slices"][()].astype(float)
        places = truth["positions_A"][()][:, : told["scan_shape"][1]].reshape(-1, 2).astype(float)
        sampling = float(truth.attrs["object_sampling_A"])
    points = places - places[0]
    return Truth(phase, sampling, places[0], points, BLUR_A, SEARCH_A, float(told["rotation_deg"])), slices


def slice_correlations(truth: Truth, slices: np.ndarray, found: Reconstruction, shift_A) -> list[float]:
    """Correlation of each slice alone, shifted as their sum was."""
    places, inside = truth.field()
    where = places + np.reshape(shift_A, (2, 1, 1))
    return [
        correlation(
            level(replace(found, phase=found.phase[k : k + 1]).at(where), inside),
            level(replace(truth, phase=slices[k]).blurred(BLUR_A, places), inside),
        )
        for k in range(len(slices))
    ]
