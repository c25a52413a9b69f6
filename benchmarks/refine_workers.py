"""One refinement on 1, 2, 4, … workers: time of sweeps and L-BFGS epochs, speed-up, share spent on messages.

    python benchmarks/refine_workers.py SCAN.h5 [--side 256] [--workers 1 2 4] [--sweeps 2] [--epochs 4] [--batch 512]

The scan is made from a recording of a regular scan, by repeating its patterns on SIDE x SIDE points: this changes the
result, not the cost. Workers are processes of this machine (Dask), of one thread each; --threads-only: threads of one
process, whose messages cost almost nothing. Trials, the division of the scan and compilation are excluded. Run it on an
idle machine with as many cores as workers.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptylive.application.offline import MapRequest, reconstruct_file, refinable
from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.refine.tiles.crew import Threads
from ptylive.engine.refine.tiles.shared_run import Shared
from ptylive.schema.preset import Preset
from ptylive.server.cluster.opening import opened
from ptylive.server.cluster.tile_crew import ClusterWorkers
from ptylive.streamer.source import open_source


def enlarged(dataset: Dataset, side: int) -> Dataset:
    """The patterns of a complete, regular scan repeated on a larger one."""
    rows, columns = dataset.scan_shape
    if len(dataset.patterns) != rows * columns:
        raise SystemExit("every point of the recording must have one pattern")
    order = np.argsort(dataset.point)
    positions = dataset.positions_A[order].reshape(rows, columns, 2)
    down, right = (
        (positions[-1, 0] - positions[0, 0]) / (rows - 1),
        (positions[0, -1] - positions[0, 0]) / (columns - 1),
    )
    row, column = (axis.ravel() for axis in np.indices((side, side)))
    return replace(
        dataset,
        patterns=dataset.patterns[order][(row % rows) * columns + column % columns],
        point=np.arange(side * side),
        positions_A=positions[0, 0] + row[:, None] * down + column[:, None] * right,
        scan_shape=(side, side),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--sweeps", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--modes", type=int, default=4)
    parser.add_argument(
        "--batch", type=int, default=None, help="patterns in a mini-batch; default: as refinements choose"
    )
    parser.add_argument("--threads-only", action="store_true")
    args = parser.parse_args()
    use_persistent_cache()
    with open_source(args.scan, {}) as source:
        reconstruction = reconstruct_file(args.scan, {}, ("com",), MapRequest(backend="cpu"))
        dataset = enlarged(refinable(source, reconstruction.calibration), args.side)
    settings = {"num_slices": 1, "probe_modes": args.modes, "refine_drift": False, "phase_deviation": False}
    if args.epochs <= args.sweeps:
        raise SystemExit("more epochs than sweeps: the rest are L-BFGS")
    batch = {} if args.batch is None else {"batch_size": args.batch}
    preset = Preset(**settings, **batch, sweeps=args.sweeps, epoch_max=args.epochs)
    print(f"{len(dataset.patterns)} patterns, {args.modes} modes; {args.sweeps} sweeps of {args.epochs} epochs")
    print("workers  sweep s  L-BFGS epoch s  speed-up (sweep, L-BFGS)  messages, share  sent, MB  loss")
    first: tuple[float, float] | None = None
    for workers in args.workers:
        with nullcontext() if args.threads_only else opened(f"local:{workers}", 1, print) as cluster:
            crew = Threads(workers) if cluster is None else ClusterWorkers(cluster, workers, "cpu")
            refine(dataset.part(np.arange(64)), preset.model_copy(update={"epoch_max": 2}), sharing=Shared(crew))
            sharing = Shared(crew)
            result = refine(dataset, preset, backend="cpu", sharing=sharing)
        assert sharing.last is not None
        times = seconds_of(result)
        first = first or times
        talk = sum(worker["talk_seconds"] for worker in sharing.last.tile_statistics) / sum(
            worker["seconds"] for worker in sharing.last.tile_statistics
        )
        sent = sum(worker["sent_bytes"] for worker in sharing.last.tile_statistics) / 1e6
        ups = f"{first[0] / times[0]:9.2f} {first[1] / times[1]:9.2f}"
        print(
            f"{workers:7d}  {times[0]:7.2f}  {times[1]:14.2f}  {ups:>24}  {100 * talk:14.1f} %  {sent:8.0f}"
            f"  {result.loss[-1]:.6g}"
        )


def seconds_of(result: RefineResult) -> tuple[float, float]:
    """Seconds of a sweep and of an L-BFGS epoch, the fastest of each."""
    phases = np.asarray(result.phases)
    return tuple(float(result.seconds[phases == phase].min()) for phase in ("sweep", "lbfgs"))  # type: ignore[return-value]


if __name__ == "__main__":
    main()
