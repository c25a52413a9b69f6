"""SSB and OBF of a 256 x 256 scan offline: ptylive against py4DSTEM and ptychography40, one run, one thread each.

Every program gets the same patterns as an array in memory, the true optics, and first a small scan, so that nothing is
compiled during the timing. The time is from the array to the map.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install py4DSTEM==0.14.18 ptychography40==0.1.0
    python benchmarks/live_vs_peers.py tiny_mos2_80kV_focus.h5 --peers-python /tmp/peers/bin/python

The patterns of the given file are repeated until the scan has the required size; timings do not depend on them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
os.environ.update(ONE_THREAD)

import numpy as np  # noqa: E402  (threads must be set first)

PROGRAMS = ("ptylive ssb", "ptylive obf", "py4DSTEM ssb", "py4DSTEM obf", "ptychography40 ssb")
WARM_UP = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a native file with energy, semi-angle, step and detector pixel")
    parser.add_argument("--size", type=int, default=256, help="points of the scan along each axis")
    parser.add_argument("--peers-python", help="Python of an environment with the peers; without it they are left out")
    parser.add_argument("--program", choices=PROGRAMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        print(json.dumps(run(options.program, options.file, options.size)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "scan.npz"
        prepare(options.file, data)
        results = {}
        for program in PROGRAMS:
            python = sys.executable if program.startswith("ptylive") else options.peers_python
            if python is None:
                continue
            command = [python, __file__, str(data), "--size", str(options.size), "--program", program]
            completed = subprocess.run(command, capture_output=True, text=True, check=False)
            if completed.returncode:
                print(f"{program:20} failed: {completed.stderr.strip().splitlines()[-1:]}")
                continue
            results[program] = json.loads(completed.stdout.strip().splitlines()[-1])
            print(f"{program:20} {results[program]['seconds']:8.2f} s   CPU {results[program]['cpu_s']:8.2f} s")
    for peer, ours in (("py4DSTEM ssb", "ssb"), ("py4DSTEM obf", "obf"), ("ptychography40 ssb", "ssb")):
        if peer in results and f"ptylive {ours}" in results:
            ratio = results[peer]["cpu_s"] / results[f"ptylive {ours}"]["cpu_s"]
            print(f"{peer}: {ratio:.1f} times the CPU time of ptylive {ours}")


def prepare(file: Path, target: Path) -> None:
    """The patterns and their metadata without HDF5 filters, which a peer's environment may lack."""
    import h5py
    import hdf5plugin  # noqa: F401

    with h5py.File(file) as source:
        known = source["metadata"].attrs
        names = ("energy_eV", "convergence_semiangle_mrad", "detector_pixel_mrad", "scan_step_A", "beam_center_px")
        np.savez(target, patterns=source["data"][()], **{name: np.asarray(known[name]) for name in names})


def run(program: str, file: Path, size: int) -> dict[str, float]:
    """Seconds from the array to the map."""
    with np.load(file) as stored:
        known = {name: stored[name] for name in stored.files}
    name, method = program.split()
    measure = {"ptylive": ptylive, "py4DSTEM": py4dstem, "ptychography40": ptychography40}[name]
    measure(repeated(known["patterns"], WARM_UP), known, method)
    patterns = repeated(known["patterns"], size)
    started, cpu = time.perf_counter(), time.process_time()
    image = measure(patterns, known, method)
    assert image.shape[0] >= size, image.shape
    return {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}


def repeated(patterns: np.ndarray, size: int) -> np.ndarray:
    """Patterns (size, size, Qy, Qx)."""
    rows, cols = (np.arange(size) % n for n in patterns.shape[:2])
    return np.ascontiguousarray(patterns[rows][:, cols])


def ptylive(patterns: np.ndarray, known: dict[str, np.ndarray], method: str) -> np.ndarray:
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.engine.live.engine import reconstruct
    from ptylive.schema import Detector, FrameBatch, Optics, Scan, ScanHeader

    frames = patterns.reshape(-1, *patterns.shape[2:])
    optics = {name: float(known[name]) for name in ("energy_eV", "convergence_semiangle_mrad")}
    detector = Detector(
        shape=frames.shape[1:],
        dtype=frames.dtype.str,
        pixel_mrad=float(known["detector_pixel_mrad"]),
        beam_center_px=tuple(known["beam_center_px"]),
        transform_given=True,
    )
    scan = Scan(shape=patterns.shape[:2], step_A=float(known["scan_step_A"]), rotation_deg=0.0)
    header = ScanHeader("bench", "bench", len(frames), scan, Optics.model_validate({**optics, "C10": 0.0}), detector)

    def batches():
        for first in range(0, len(frames), 256):
            index = np.arange(first, min(first + 256, len(frames)))
            yield FrameBatch("bench", index, frames[index[0] : index[-1] + 1])

    return reconstruct(header, batches, [method])[1].maps[0].data


def py4dstem(patterns: np.ndarray, known: dict[str, np.ndarray], method: str) -> np.ndarray:
    import matplotlib

    matplotlib.use("Agg")
    import py4DSTEM

    cube = py4DSTEM.DataCube(patterns.astype(np.float32))
    cube.calibration.set_R_pixel_size(float(known["scan_step_A"]))
    cube.calibration.set_R_pixel_units("A")
    cube.calibration.set_Q_pixel_size(float(known["detector_pixel_mrad"]))
    cube.calibration.set_Q_pixel_units("mrad")
    kind = {"ssb": py4DSTEM.process.phase.SSB, "obf": py4DSTEM.process.phase.OBF}[method]
    center = tuple(np.full(patterns.shape[:2], c, np.float32) for c in known["beam_center_px"])
    reconstruction = kind(
        energy=float(known["energy_eV"]),
        datacube=cube,
        semiangle_cutoff=float(known["convergence_semiangle_mrad"]),
        verbose=False,
    ).preprocess(
        plot_center_of_mass=False,
        plot_rotation=False,
        plot_overlap_trotters=False,
        force_com_rotation=0.0,
        force_com_transpose=False,
        force_com_shifts=center,
        crop_around_bf_disk=True,
        bf_disk_padding_px=2,
    )
    reconstruction.reconstruct(progress_bar=False, num_jobs=1)
    return np.angle(np.asarray(reconstruction.object))


def ptychography40(patterns: np.ndarray, known: dict[str, np.ndarray], _method: str) -> np.ndarray:
    from libertem.api import Context
    from libertem.executor.inline import InlineJobExecutor
    from ptychography40.reconstruction.common import wavelength
    from ptychography40.reconstruction.ssb import SSB_UDF

    context = Context(executor=InlineJobExecutor())
    data = context.load("memory", data=patterns.astype(np.float32), sig_dims=2)
    udf = SSB_UDF(
        lamb=wavelength(float(known["energy_eV"]) / 1e3),
        dpix=float(known["scan_step_A"]) * 1e-10,
        semiconv=float(known["convergence_semiangle_mrad"]) * 1e-3,
        semiconv_pix=float(known["convergence_semiangle_mrad"]) / float(known["detector_pixel_mrad"]),
        dtype=np.float32,
        cy=float(known["beam_center_px"][0]),
        cx=float(known["beam_center_px"][1]),
        method="subpix",
        cutoff=1,
    )
    return np.asarray(context.run_udf(dataset=data, udf=udf)["phase"].data).reshape(patterns.shape[:2])


if __name__ == "__main__":
    main()
