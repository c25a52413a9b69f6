"""Counts below zero, as left by the subtraction of a dark image: a refinement takes them as 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ptylive.schema.advice.words import significant

if TYPE_CHECKING:
    from ptylive.engine.dataset import Dataset

SAMPLED = 64
"""Number of patterns, spread over the scan, from which the share is estimated."""
LEAST_SHARE = 0.001
"""Share of the dose below which nothing is reported."""


def negative_share(dataset: Dataset) -> float:
    """Size of the sum of negative counts relative to the sum of all counts, without bad pixels; 0 for coefficients."""
    if dataset.patterns.dtype.kind in "ub" or dataset.masks is not None:
        return 0.0
    chosen = np.unique(np.linspace(0, len(dataset.patterns) - 1, SAMPLED).astype(int))
    counts = np.stack([np.where(dataset.bad_pixels, 0, dataset.patterns[index]) for index in chosen.tolist()])
    total = float(counts.sum(dtype=np.float64))
    return -float(np.minimum(counts, 0).sum(dtype=np.float64)) / total if total > 0 else 0.0


def negative_words(dataset: Dataset) -> tuple[str, ...]:
    """Remark on negative counts, or none if they hardly change the dose."""
    share = negative_share(dataset)
    if share < LEAST_SHARE:
        return ()
    added = significant(100 * share, 2)
    return (f"negative counts are taken as 0, which adds {added} % to the dose (give raw counts if you can)",)
