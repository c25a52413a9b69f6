"""A full disk does not interrupt a refinement: it continues, reports the problem, and tries again."""

import errno
from contextlib import contextmanager

import numpy as np

from ptylive.engine.refine import refine
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run import loss_table, refinement
from ptylive.schema.files.atomic import replacing
from ptylive.schema.preset import Preset

EPOCHS = 6
PRESET = Preset(window_px=32, probe_modes=1, batch_size=144, sweeps=3, epoch_max=EPOCHS, anchor=0.1)


class Disk:
    """A disk that is full from the ``first`` attempt to the ``last``."""

    def __init__(self, first: int, last: int) -> None:
        self._full, self.attempts = range(first, last + 1), 0

    @contextmanager
    def replacing(self, path):
        self.attempts += 1
        with replacing(path) as temporary:
            yield temporary
            if self.attempts in self._full:
                raise OSError(errno.ENOSPC, "No space left on device")


def refined(dataset, tmp_path, disk, monkeypatch, **options):
    monkeypatch.setattr(refinement, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "replacing", disk.replacing)
    said = []
    path = tmp_path / "run.checkpoint"
    result = refine(dataset, PRESET, backend="cpu", checkpoint=path, on_progress=said.append, **options)
    return result, said


def test_it_goes_on_and_tries_again(simulated, tmp_path, monkeypatch):
    result, said = refined(simulated.dataset, tmp_path, Disk(2, 4), monkeypatch)
    assert result.state == "done" and len(result.loss) == EPOCHS and result.message == ""
    warnings = [p.warning for p in said]
    words = f"{tmp_path / 'run.checkpoint'} could not be written: No space left on device"
    assert set(warnings) == {"", words} and warnings[-1] == ""
    assert checkpoints.exists(tmp_path / "run.checkpoint")


def test_a_disk_that_stays_full_is_told_of_at_the_end(simulated, tmp_path, monkeypatch):
    result, said = refined(simulated.dataset, tmp_path, Disk(2, 10**6), monkeypatch)
    assert result.state == "done" and "run.checkpoint could not be written: No space left" in result.message
    assert said[-1].warning and len(result.loss) == EPOCHS
    monkeypatch.undo()  # the first state written is still there, and the run continues from it
    resumed, _ = refined(simulated.dataset, tmp_path, Disk(1, 0), monkeypatch, resume=True)
    np.testing.assert_allclose(resumed.loss, result.loss, rtol=1e-6)  # as in test_kills: sums in single precision


def test_a_loss_table_without_room(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(loss_table, "replacing", Disk(1, 10**6).replacing)
    result, _ = refined(simulated.dataset, tmp_path, Disk(1, 0), monkeypatch, loss_table=tmp_path / "loss.csv")
    assert result.state == "done" and "loss.csv could not be written" in result.message
