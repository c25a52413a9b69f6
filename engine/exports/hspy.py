"""Maps as a HyperSpy file (`.hspy`, format 3.3): plain HDF5 in the layout that HyperSpy and RosettaSciIO read.

Layout: RosettaSciIO, `rsciio/_hierarchical.py` (one group per signal below `Experiments`). It is written with h5py
here, so that exporting does not require a GPL library.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import LiveMap
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.new_hdf5 import for_hdf5

FORMAT_VERSION = "3.3"
UNSCALED = "px"
"""Unit of the axes of a map whose sampling is unknown."""


def write_hspy(path: Path, maps: Sequence[LiveMap]) -> None:
    """Write maps (rows, cols) float32, one signal each, named after them; axes y and x in Å if the step is known."""
    import h5py

    with replacing(path) as temporary, for_hdf5(temporary) as stream, h5py.File(stream, "w") as file:
        file.attrs.update(file_format="HyperSpy", file_format_version=FORMAT_VERSION)
        signals = file.create_group("Experiments")
        for live_map in maps:
            _write_signal(signals.create_group(live_map.name), live_map)


def is_own(file: Any) -> bool:
    """Whether an open HDF5 file was made by :func:`write_hspy`."""
    names = list(file.get("Experiments", ()))
    return bool(names) and all(f"Experiments/{name}/original_metadata/ptylive" in file for name in names)


def _write_signal(group: Any, live_map: LiveMap) -> None:
    # no @package: HyperSpy imports it, and warns if it cannot
    group.create_dataset("data", data=np.asarray(live_map.data, dtype=np.float32), compression="gzip", shuffle=True)
    sampling = live_map.sampling_A or (1.0, 1.0)
    for index, (name, scale) in enumerate(zip("yx", sampling, strict=True)):
        group.create_group(f"axis-{index}").attrs.update(
            _type="UniformDataAxis",
            name=name,
            size=live_map.data.shape[index],
            scale=float(scale),
            offset=0.0,
            units=UNSCALED if live_map.sampling_A is None else "Å",
            index_in_array=index,
            navigate=False,
            is_binned=False,
        )
    group.create_group("attributes").attrs.update(_lazy=False, ragged=False)
    metadata = group.create_group("metadata")
    metadata.create_group("General").attrs["title"] = live_map.name
    quantity = f"{live_map.name} ({live_map.units})" if live_map.units else live_map.name
    metadata.create_group("Signal").attrs.update(signal_type="", quantity=quantity)
    original = group.create_group("original_metadata").create_group("ptylive")
    original.attrs.update(version=version("ptylive"), method=live_map.method, frames=live_map.frames)
    if live_map.doubt:
        original.attrs["doubt"] = live_map.doubt
    if live_map.caveat:
        original.attrs["caveat"] = live_map.caveat
    for empty in ("learning_results", "models"):
        group.create_group(empty)
