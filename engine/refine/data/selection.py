"""Selection of patterns by ``sequence``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.pattern_view import shuffled
from ptylive.schema.preset.patterns import PatternSettings
from ptylive.schema.preset.sequence import chosen_patterns


def selected(dataset: Dataset, patterns: PatternSettings) -> Dataset:
    """Return the selected patterns.

    With ``use_full_FOV`` the object still covers the positions of all patterns. Raises MetadataError if none is left.
    """
    if patterns.sequence is None:
        return dataset
    index = chosen_patterns(patterns.sequence, len(dataset.patterns))
    stored = isinstance(dataset.patterns, np.ndarray)
    reach = np.stack([dataset.positions_A.min(axis=0), dataset.positions_A.max(axis=0)])
    part = dataset.part(index, None if stored else shuffled(dataset.patterns, index).as_array())
    return replace(part, reach_A=reach if patterns.use_full_FOV else None)
