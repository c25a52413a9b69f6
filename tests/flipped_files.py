"""One small file of each kind that the program keeps, and a way to flip one of its bits."""

import os

import numpy as np
import stored_runs
from event_tools import event_message
from stream_tools import make_frames, make_header, messages_of, stored_recording

from ptylive.engine.refine.run import checkpoint
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recording_writer import record

LOG = Log((3.0, 2.5), ("sweep", "lbfgs"), (0.1, 0.2), 2.25)


def crowd():
    """How many times longer everything may take because other programs want the cores as well: 1 on a quiet machine."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def flipped(content, rng):
    """The bytes with one bit flipped, and the place of this bit."""
    at, bit = rng.randrange(len(content)), rng.randrange(8)
    damaged = bytearray(content)
    damaged[at] ^= 1 << bit
    return bytes(damaged), (at, bit)


def recording(folder):
    header = make_header((4, 4), (4, 4))
    return stored_recording(folder, header, make_frames(header), missing=slice(3, 5))


def results(folder):
    path = folder / "results.h5"
    stored_runs.write_results(path)
    return path


def journal(folder):
    header = make_header((4, 4), (4, 4))
    path = folder / "scan.journal"
    written = Journal(path, header)
    for message in messages_of(header, make_frames(header)):
        written.append(message)
    written.close()
    return path


def sparse_journal(folder):
    header = make_header((4, 4), (4, 4))
    path, frames = folder / "scan.journal", make_frames(header)
    written = Journal(path, header)
    for first in range(0, len(frames), 5):
        written.append(event_message(header.uid, first, frames[first : first + 5]))
    written.close()
    return path


def sparse_recording(folder):
    path = folder / "scan.h5"
    record(sparse_journal(folder), path)
    return path


def preset(folder):
    path = folder / "preset.toml"
    path.write_text('epoch_max = 20\nupdate_probe = "epoch > 3"\nnum_slices = 2\ntotal_thickness_A = 40.0\n')
    return path


def saved_checkpoint(folder):
    path = folder / "run.checkpoint"
    checkpoint.save(path, SweepState(np.linspace(0, 1, 50, dtype=np.float32), 1), LOG, checkpoint.Identity("id"))
    return path
