"""Checkpoints: exact, verified, two kept, and never those of another refinement."""

import errno
from dataclasses import asdict, replace

import numpy as np
import pytest

from ptylive.engine.refine.regularisers.registry import registered
from ptylive.engine.refine.run.checkpoint import Identity, load, save
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.solvers.lbfgs import LbfgsState
from ptylive.engine.refine.solvers.pairs import Packed
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.schema import RefinementError
from ptylive.schema.preset import Preset

ID = Identity("id")
LOG = Log((3.0, 2.5), ("sweep", "lbfgs"), (0.1, 0.2), 2.25)


def vector(seed):
    return np.random.default_rng(seed).normal(size=50).astype(np.float32)


def lbfgs_state():
    pairs = ((vector(1), vector(2)), (vector(3), vector(4)))
    return LbfgsState(vector(0), 2.5, vector(5), vector(6), vector(7), pairs, 4, (2.5,))


def same(a, b):
    assert type(a) is type(b)
    np.testing.assert_equal(asdict(b), asdict(a))


def packed_state():
    """A state with a pair of which one vector is packed."""
    rounded = Packed(np.arange(50, dtype=np.int16), vector(9)[:1])
    return replace(lbfgs_state(), pairs=((vector(1), vector(2)), (rounded, vector(4))))


@pytest.mark.parametrize(
    "state",
    [lbfgs_state(), packed_state(), SweepState(vector(0)), SweepState(vector(0), 2, 3, 1.5, vector(1), 1, (9.0, 8.0))],
)
def test_states_come_back_exactly(tmp_path, state):
    path = tmp_path / "run.npz"
    save(path, state, LOG, ID)
    loaded = load(path, ID)
    assert loaded is not None
    same(state, loaded.state)
    assert loaded.log == LOG
    assert loaded.note == ""


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    path = tmp_path / "run.npz"
    save(path, SweepState(vector(0), 1), LOG, ID)
    save(path, SweepState(vector(1), 2), LOG, ID)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    loaded = load(path, ID)
    assert loaded is not None
    assert loaded.state.sweep == 1
    assert "continued from the previous one" in loaded.note
    path.with_name("run.npz.previous").write_bytes(b"nothing")
    with pytest.raises(RefinementError, match="is damaged"):
        load(path, ID)


def test_nothing_there_is_nothing(tmp_path):
    assert load(tmp_path / "none.npz", ID) is None


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (Identity("other"), "belongs to other data"),
        (Identity("id", {"seed": 1, "num_slices": 4}), r"other settings \(num_slices was 2, is 4, seed was 0, is 1\)"),
        (Identity("id", {"seed": 0, "num_slices": None}), r"other settings \(num_slices was 2, is not given\)"),
        (Identity("id", {"seed": 0}), r"other settings \(num_slices was 2, is unknown\)"),
        (Identity("id", {"seed": 0, "num_slices": 2, "atv_weight": 0.1}), r"\(atv_weight was unknown, is 0.1\)"),
        (Identity("id", {"seed": 0, "num_slices": 2, "loss_of_mine": 0.1}), r"\(loss_of_mine was unknown, is 0.1\)"),
    ],
)
def test_another_refinements_checkpoint_is_refused(tmp_path, now, words):
    save(tmp_path / "run.npz", SweepState(vector(0)), LOG, Identity("id", {"seed": 0, "num_slices": 2}))
    with pytest.raises(RefinementError, match=words):
        load(tmp_path / "run.npz", now)


def test_a_setting_that_came_later_or_is_gone_and_is_off_is_no_difference(tmp_path):
    assert registered()  # regularisers provide the defaults of their settings
    there = {"seed": 0, "of_a_plug_in": 0.0, "obja_thresh_min": 0.96}  # existed then, at its default
    save(tmp_path / "run.npz", SweepState(vector(0)), LOG, Identity("id", there))
    now = Identity("id", {"seed": 0, "atv_weight": 0.0, "data_shift_vector_px": [0.0, 0.0]})
    assert load(tmp_path / "run.npz", now) is not None


def test_it_belongs_to_data_and_settings_but_not_to_the_number_of_epochs(simulated):
    dataset = simulated.dataset
    one = Identity.of(dataset, Preset())
    assert Identity.of(dataset, Preset(epoch_max=99)) == one
    assert Identity.of(dataset, Preset(seed=1)) != one
    assert Identity.of(replace(dataset, positions_A=dataset.positions_A + 1), Preset()).data != one.data
    assert Identity.of(replace(dataset, patterns=dataset.patterns + 1), Preset()).data != one.data
    assert Identity.of(replace(dataset, offsets_px=0.1 * dataset.positions_A), Preset()).data != one.data
    assert Identity.of(replace(dataset, current=np.full(len(dataset.patterns), 1.1)), Preset()).data != one.data


def test_a_disk_that_is_full_leaves_the_checkpoint_that_is_there(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    save(path, SweepState(vector(0), 1), LOG, ID)

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        save(path, SweepState(vector(0), 2), LOG, ID)
    loaded = load(path, ID)
    assert loaded is not None and loaded.state.sweep == 1 and loaded.note == ""


def test_whole_files_that_hold_something_else_are_refused(tmp_path):
    """The archive's checksums protect each part; only the digest shows whether the parts belong together."""
    path = tmp_path / "run.npz"
    save(path, SweepState(vector(0)), LOG, ID)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "vector": vector(1)})
    with pytest.raises(RefinementError, match="is damaged"):
        load(path, ID)
    np.savez(path, **arrays)
    assert load(path, ID) is not None
