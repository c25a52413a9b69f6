"""Files with one flipped bit: each is opened or refused, whatever the bit; none of them kills its reader.

PTYLIVE_FLIPS sets how many of each kind, PTYLIVE_FLIPS_SEED which ones; the seed is printed.
"""

import os
import random
import time

import pytest
from flipped_files import (
    crowd,
    flipped,
    journal,
    preset,
    recording,
    results,
    saved_checkpoint,
    sparse_journal,
    sparse_recording,
)

from ptylive.application.presets import load_preset
from ptylive.engine.refine.run import checkpoint
from ptylive.schema import InputFileError, PtyliveError
from ptylive.schema.preset import Preset
from ptylive.server.commands.runs import read_run, run_curves
from ptylive.server.session.stored_scans import describe_results, describe_scan, read_results
from ptylive.streamer.vetting.journals import journal_frames, read_journal
from ptylive.streamer.vetting.tasks import describe_recording, frames, walk, walk_hdf5
from ptylive.streamer.vetting.worker import FileWorker, Limits

QUICK, MANY = 12, 2000
MOST_S = 5.0
"""Time limit for one file, given the whole machine; checked in the long run only."""
SEED = int(os.environ.get("PTYLIVE_FLIPS_SEED", "12"))


def through_the_worker(worker, path, *tasks):
    """Number of tasks that gave an answer."""
    answers = 0
    for task, arguments in tasks:
        try:
            worker.read(task, path, **arguments)
            answers += 1
        except InputFileError as error:
            assert str(path) in str(error)
    return answers


def in_this_process(read):
    """1 if something was read, 0 if it was refused."""
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
    saved_checkpoint: lambda _worker, path: in_this_process(lambda: checkpoint.load(path, checkpoint.Identity("id"))),
}
READERS |= {sparse_recording: READERS[recording], sparse_journal: READERS[journal]}
EVERY_KIND = pytest.mark.parametrize("kind", READERS, ids=lambda kind: kind.__name__)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow if kind in (sparse_recording, sparse_journal) else ())
        for kind in READERS
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_file_is_opened_or_refused(kind, tmp_path):
    flip(kind, tmp_path, int(os.environ.get("PTYLIVE_FLIPS", str(QUICK))))


@pytest.mark.slow
@EVERY_KIND
def test_two_thousand_of_each(kind, tmp_path):
    """The slowest file may be due to the file or to the machine, so the load is reported."""
    slowest = flip(kind, tmp_path, int(os.environ.get("PTYLIVE_FLIPS", str(MANY))))
    assert slowest < MOST_S * crowd(), f"{slowest:.1f} s at a load of {os.getloadavg()}"


def flip(kind, folder, count):
    """Try n flips of a file of one kind; return the time of the slowest, s."""
    print(f"PTYLIVE_FLIPS_SEED={SEED}: {count} flips of a {kind.__name__}")
    rng = random.Random(f"{SEED} {kind.__name__}")
    path = kind(folder)
    content = path.read_bytes()
    slowest = 0.0
    with FileWorker(Limits(cpu_s=0.5)) as worker:  # a bit that makes a file endless takes all of it
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
    print(f"the slowest {kind.__name__} took {slowest:.1f} s")
    return slowest
