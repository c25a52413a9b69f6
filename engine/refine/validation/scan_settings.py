"""Settings that are incompatible with several scans; checked before anything is refined."""

from __future__ import annotations

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.schema.errors import MetadataError
from ptylive.schema.preset import Preset

LEAST_TILT_MRAD = 0.1
"""Tilts that are all smaller show nothing: the largest that are accepted, 50 mrad, are smaller in rad."""


def check_scans(dataset: Dataset, preset: Preset) -> None:
    """Raise MetadataError if scans and settings are incompatible."""
    given, scans = preset.scans.scan_tilts_mrad, len(dataset.scan_names)
    if dataset.scan_of is None:
        if given is not None:
            raise MetadataError(
                f"scan_tilts_mrad lists {len(given)} scans, there is one", "give as many files as tilts"
            )
        return
    if given is None or len(given) != scans:
        problem = "is not given" if given is None else f"lists {len(given)}"
        example = ",".join("[0,0]" for _ in range(scans))
        raise MetadataError(f"{scans} scans, and scan_tilts_mrad {problem}", f"give scan_tilts_mrad=[{example}], mrad")
    largest = float(np.abs(given).max())
    if 0 < largest < LEAST_TILT_MRAD:
        raise MetadataError(
            f"scan_tilts_mrad reaches only {largest:g} mrad, too little to show: are these rad?",
            f"give mrad: {1e3 * largest:g}",
        )
    for name, requested in _incompatible(preset).items():
        if requested:
            raise MetadataError(f"{name} cannot be used with several scans", "leave it out, or refine one scan")


def _incompatible(preset: Preset) -> dict[str, bool]:
    """Settings that are refused with several scans, and whether each is requested."""
    tilted = preset.scans.scan_tilts_mrad is not None and np.ptp(preset.scans.scan_tilts_mrad, axis=0).any()
    return {
        "num_slices=1": preset.object.num_slices == 1 and bool(tilted),
        "tilts_mrad": preset.propagation.tilts_mrad is not None,
        "tilt_mode": preset.propagation.tilt_mode != 0,
        "update_tilts (update_scans has tilts)": preset.refined.update_tilts,
        "field_order": preset.instrument.field_order > 0,
        "recon_type=near_field": preset.propagation.near_field,
        "method=dgp": preset.prior.method == "dgp",
    }
