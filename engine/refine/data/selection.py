"""The patterns a preset's ``sequence`` chooses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.pattern_view import shuffled
from ptylive.schema.preset import Preset
from ptylive.schema.preset.sequence import chosen_patterns


def selected(dataset: Dataset, preset: Preset) -> tuple[Dataset, Preset]:
    """The chosen patterns, and the preset without ``sequence``: asked again, it chooses no second time.

    With ``use_full_FOV`` the object still holds the positions of all patterns. Raises MetadataError where none is left.
    """
    if preset.sequence is None:
        return dataset, preset
    index = chosen_patterns(preset.sequence, len(dataset.patterns))
    stored = isinstance(dataset.patterns, np.ndarray)
    reach = np.stack([dataset.positions_A.min(axis=0), dataset.positions_A.max(axis=0)])
    chosen = replace(
        dataset,
        patterns=dataset.patterns[index] if stored else shuffled(dataset.patterns, index).as_array(),
        point=dataset.point[index],
        positions_A=dataset.positions_A[index],
        reach_A=reach if preset.use_full_FOV else None,
    )
    return chosen, preset.model_copy(update={"sequence": None})
