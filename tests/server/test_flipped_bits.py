"""Files with one flipped bit: every one is opened or refused, whatever the bit; none takes its reader along.

PTYLIVE_FLIPS says how many in all, PTYLIVE_FLIPS_SEED which; the seed is printed.
"""

import os
import random
import time

import numpy as np
import pytest
import stored_runs
from stream_tools import make_arm, make_frames, messages_of, stored_recording

from ptylive.engine.refine.run import checkpoint
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.schema import InputFileError, PtyliveError
from ptylive.schema.preset import Preset
from ptylive.server.presets import load_preset
from ptylive.server.run_curves import run_curves
from ptylive.server.runs import read_run
from ptylive.server.stored_scans import describe_results, describe_scan, read_results
from ptylive.streamer.journal import Journal
from ptylive.streamer.vetting.journals import journal_frames, read_journal
from ptylive.streamer.vetting.tasks import describe_recording, frames, walk, walk_hdf5
from ptylive.streamer.vetting.worker import FileWorker, Limits

QUICK = 200
SEED = int(os.environ.get("PTYLIVE_FLIPS_SEED", "12"))
LOG = Log((3.0, 2.5), ("sweep", "lbfgs"), (0.1, 0.2), 2.25)


def flipped(content, rng):
    """The bytes with one bit of them turned over, and which."""
    at, bit = rng.randrange(len(content)), rng.randrange(8)
    damaged = bytearray(content)
    damaged[at] ^= 1 << bit
    return bytes(damaged), (at, bit)


def recording(folder):
    arm = make_arm((4, 4), (4, 4))
    return stored_recording(folder, arm, make_frames(arm), missing=slice(3, 5))


def results(folder):
    path = folder / "results.h5"
    stored_runs.write_results(path)
    return path


def journal(folder):
    arm = make_arm((4, 4), (4, 4))
    path = folder / "scan.journal"
    written = Journal(path, arm)
    for message in messages_of(arm, make_frames(arm)):
        written.append(message)
    written.close()
    return path


def preset(folder):
    path = folder / "preset.toml"
    path.write_text('epoch_max = 20\nupdate_probe = "epoch > 3"\nnum_slices = 2\ntotal_thickness_A = 40.0\n')
    return path


def saved_checkpoint(folder):
    path = folder / "run.checkpoint"
    checkpoint.save(path, SweepState(np.linspace(0, 1, 50, dtype=np.float32), 1), LOG, "id")
    return path


def through_the_worker(worker, path, *tasks):
    """How many of the tasks gave an answer."""
    answers = 0
    for task, arguments in tasks:
        try:
            worker.read(task, path, **arguments)
            answers += 1
        except InputFileError as error:
            assert str(path) in str(error)
    return answers


def in_this_process(read):
    """1 where something was read, 0 where it was refused."""
    try:
        return int(read() is not None)
    except PtyliveError:
        return 0


READERS = {
    recording: lambda worker, path: through_the_worker(
        worker,
        path,
        (describe_recording, {}),
        (describe_scan, {}),
        (walk, {}),
        (frames, {"first": 0, "most_bytes": 2**20}),
    ),
    results: lambda worker, path: through_the_worker(
        worker,
        path,
        (describe_results, {}),
        (read_results, {}),
        (read_run, {"run": "run1"}),
        (run_curves, {"run": "run1", "line_A": [0.0, 0.0, 2.0, 2.0]}),
        (walk_hdf5, {}),
    ),
    journal: lambda worker, path: through_the_worker(
        worker, path, (read_journal, {}), (journal_frames, {"at": 0, "skip": 0, "most_bytes": 2**20})
    ),
    preset: lambda _worker, path: in_this_process(lambda: Preset.from_mapping(load_preset(path).settings).at(4)),
    saved_checkpoint: lambda _worker, path: in_this_process(lambda: checkpoint.load(path, "id")),
}


@pytest.mark.parametrize("kind", READERS, ids=lambda kind: kind.__name__)
def test_every_file_is_opened_or_refused(kind, tmp_path):
    count = int(os.environ.get("PTYLIVE_FLIPS", str(QUICK))) // len(READERS)
    print(f"PTYLIVE_FLIPS_SEED={SEED}: {count} flips")
    rng = random.Random(f"{SEED} {kind.__name__}")
    path = kind(tmp_path)
    content = path.read_bytes()
    slowest = 0.0
    with FileWorker(Limits(cpu_s=3.0)) as worker:
        assert READERS[kind](worker, path) >= 1
        for _ in range(count):
            damaged, which = flipped(content, rng)
            path.write_bytes(damaged)
            started = time.monotonic()
            try:
                READERS[kind](worker, path)
            except Exception as error:
                raise AssertionError(f"bit {which} of {kind.__name__}") from error
            slowest = max(slowest, time.monotonic() - started)
    print(f"the slowest took {slowest:.1f} s")
