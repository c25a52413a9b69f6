"""Scans of the zoo as native files (docs/conventions.md), with the truth in ``/truth``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks.zoo.draws import Draw
    from benchmarks.zoo.simulate import Scan

LAYOUT = 1
"""Changed whenever files of an earlier version must not be reused."""
BLIND = (
    "energy_eV",
    "convergence_semiangle_mrad",
    "scan_step_A",
    "scan_shape",
    "scan_pattern",
    "flyback_frames",
    "detector_pixel_mrad",
)
"""Metadata that a blind file still contains."""


def write(path: Path, drawn: Draw, scan: Scan) -> None:
    """Write a complete file, or none."""
    import h5py

    partial = path.with_suffix(".part")
    packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    with h5py.File(partial, "w") as file:
        chunks = (1, min(16, scan.counts.shape[1]), *scan.counts.shape[2:])
        file.create_dataset("data", data=scan.counts, chunks=chunks, **packed)
        group = file.create_group("metadata")
        group.attrs.update(metadata(drawn, scan))
        if scan.bad.any():
            group.create_dataset("bad_pixel_mask", data=scan.bad)
        truth = file.create_group("truth")
        slices = (np.round(scan.slices * 2**14) / 2**14).astype(np.float32)  # 6e-5 rad; compresses better
        truth.create_dataset("slices", data=slices, **packed)
        truth.create_dataset("phase", data=slices.sum(0), **packed)
        truth.create_dataset("probe", data=scan.probe)
        truth.create_dataset("positions_A", data=scan.positions.astype(np.float32), **packed)
        truth.create_dataset("nominal_positions_A", data=scan.nominal.astype(np.float32), **packed)
        truth.attrs.update(_truth(drawn, scan))
    partial.replace(path)


def metadata(drawn: Draw, scan: Scan) -> dict[str, Any]:
    """Metadata that an operator who knows the microscope would have written down."""
    return {
        "name": drawn.name,
        "energy_eV": drawn.energy_eV,
        "convergence_semiangle_mrad": drawn.semiangle_mrad,
        "scan_step_A": drawn.step_A,
        "scan_shape": np.array(drawn.shape),
        "scan_pattern": drawn.pattern,
        "flyback_frames": drawn.flyback,
        "rotation_deg": drawn.rotation_deg,
        "detector_transform": drawn.transform,
        "detector_pixel_mrad": 1e3 * drawn.wavelength_A / drawn.window_A,
        "beam_center_px": np.array(scan.centre),
        "defocus_A": drawn.defocus_A,
        "astigmatism_A": drawn.astigmatism_A,
        "astigmatism_deg": drawn.astigmatism_deg,
    }


def _truth(drawn: Draw, scan: Scan) -> dict[str, Any]:
    return {
        "layout": LAYOUT,
        "draw": json.dumps(drawn.as_dict()),
        "object_sampling_A": scan.sampling_A,
        "probe_sampling_A": drawn.window_A / drawn.pixels,
        "thickness_A": scan.thickness_A,
        "detected_fraction": scan.detected,
        "simulation_cpu_s": scan.seconds,
        "phase_units": "rad",
        "note": "phase[r, c] sits at (r, c) * object_sampling_A in the frame of positions_A (row, col; the detector's "
        "axes; true ones, in acquisition order, flyback included); slices: entrance side first, averaged over the "
        "configurations of the simulation; probe: centred at n//2, entrance plane, nominal aberrations",
    }


def usable(path: Path, drawn: Draw) -> bool:
    """Whether a file holds that draw, in this layout."""
    import h5py

    if not path.is_file():
        return False
    with h5py.File(path) as file:
        attributes = file["truth"].attrs
        same = json.loads(attributes["draw"]) == json.loads(json.dumps(drawn.as_dict()))
        return bool(attributes["layout"] == LAYOUT) and same


def blind_copy(source: Path, out: Path) -> None:
    """The same scan with no metadata but energy, aperture, scan and the detector's pixel."""
    import h5py

    with h5py.File(source) as file, h5py.File(out, "w") as copy:
        file.copy("data", copy)
        group = copy.create_group("metadata")
        group.attrs.update({name: file["metadata"].attrs[name] for name in BLIND})
        if "bad_pixel_mask" in file["metadata"]:
            file.copy("metadata/bad_pixel_mask", group)


def half_copy(source: Path, out: Path, parity: int) -> None:
    """The same scan with only the patterns of one colour of the chessboard."""
    import h5py

    with h5py.File(source) as file, h5py.File(out, "w") as copy:
        file.copy("data", copy)
        file.copy("metadata", copy)
        rows, columns = np.indices(file["data"].shape[:2])
        copy["metadata"].create_dataset("received", data=((rows + columns) % 2 == parity).ravel())
