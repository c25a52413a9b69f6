"""Snapshots of a running refinement."""

from itertools import count

import numpy as np
import pytest

from ptylive.engine.refine import refine
from ptylive.engine.refine.run.history import History, read_snapshot, snapshots
from ptylive.schema import InputFileError, MetadataError
from ptylive.schema.preset import Preset

PLAIN = {"window_px": 32, "probe_modes": 1, "epoch_max": 5, "sweeps": 3}


def run(dataset, folder, every=2, **options):
    settings = options.pop("settings", {})
    preset = Preset.from_mapping({**PLAIN, **settings})
    return refine(dataset, preset, backend="cpu", history=History(folder, every), **options)


def epochs(folder):
    return [read_snapshot(path).epoch for path in snapshots(folder)]


def test_every_second_epoch_as_results_are(small, tmp_path):
    result = run(small.dataset, tmp_path / "kept", settings={"update_probe_pos": True})
    assert epochs(tmp_path / "kept") == [0, 2, 4]
    last = read_snapshot(snapshots(tmp_path / "kept")[-1])
    np.testing.assert_array_equal(last.loss, result.loss[:4])
    assert last.object.shape == result.object.shape and last.probe.shape == result.probe.shape
    assert last.object_sampling_A == result.object_sampling_A
    assert np.abs(last.positions_A - small.dataset.positions_A).max() > 0
    every = run(small.dataset, tmp_path / "all", every=1)
    last = read_snapshot(snapshots(tmp_path / "all")[-1])
    assert last.epoch == 5
    for name in ("object", "probe", "positions_A", "loss"):
        np.testing.assert_array_equal(getattr(last, name), getattr(every, name))


def test_it_changes_nothing(small, tmp_path):
    plain = refine(small.dataset, Preset.from_mapping(PLAIN), backend="cpu")
    kept = run(small.dataset, tmp_path / "kept", every=1)
    np.testing.assert_array_equal(kept.loss, plain.loss)
    np.testing.assert_array_equal(kept.object, plain.object)


def test_stages_are_one_history(small, tmp_path):
    stages = [{"num_slices": 1}, {"num_slices": 2, "total_thickness_A": 8.0, "algorithm": "lsq_sqrt"}]
    run(small.dataset, tmp_path / "kept", settings={"stages": stages, "epoch_max": 3, "sweeps": 2})
    found = [read_snapshot(path) for path in snapshots(tmp_path / "kept")]
    assert [(each.epoch, each.object.shape[1]) for each in found] == [(0, 1), (2, 1), (4, 2), (6, 2)]


def test_a_resumed_run_goes_on_with_it(small, tmp_path):
    whole = run(small.dataset, tmp_path / "whole", every=1)
    for limit in (4, 9):
        asked = count()
        options = {"checkpoint": tmp_path / "state", "resume": True}
        stop = {"should_stop": lambda asked=asked, limit=limit: next(asked) > limit}
        run(small.dataset, tmp_path / "kept", every=1, **options, **stop)
    run(small.dataset, tmp_path / "kept", every=1, **options)
    assert epochs(tmp_path / "kept") == list(range(6))
    for one, other in zip(snapshots(tmp_path / "kept"), snapshots(tmp_path / "whole"), strict=True):
        np.testing.assert_allclose(read_snapshot(one).object, read_snapshot(other).object, atol=1e-5)
    assert whole.state == "done"


def test_a_folder_that_takes_no_files_costs_a_word(small, tmp_path):
    (tmp_path / "kept").write_text("a file")
    result = run(small.dataset, tmp_path / "kept")
    assert result.state == "done"
    assert "kept could not be written" in result.message


def test_what_is_no_history_is_refused(tmp_path):
    with pytest.raises(MetadataError, match="every 0 epochs"):
        History(tmp_path, 0)
    with pytest.raises(InputFileError, match="holds no history"):
        snapshots(tmp_path)
    bad = tmp_path / "epoch_00001.npz"
    whole = {
        **{"format": 1, "epoch": 1, "loss": [1.0], "object": np.ones((1, 1, 2, 2)), "probe": np.ones((1, 1, 2, 2))},
        **{"positions_A": np.zeros((3, 2)), "object_sampling_A": (1.0, 1.0), "origin_A": (0.0, 0.0)},
    }
    np.savez(bad, **whole)
    assert read_snapshot(bad).epoch == 1
    for damage in ({"format": 2}, {"object": np.ones(3)}, {"epoch": "x"}, {"probe": np.ones((1, 0, 2, 2))}):
        np.savez(bad, **{**whole, **damage})
        with pytest.raises(InputFileError, match="epoch_00001"):
            read_snapshot(bad)
    bad.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(InputFileError, match="cannot be read"):
        read_snapshot(bad)
    np.savez(bad, **{name: value for name, value in whole.items() if name != "probe"})
    with pytest.raises(InputFileError, match="cannot be read"):
        read_snapshot(bad)


def test_snapshots_of_epochs_that_were_given_up_are_removed(tmp_path):
    history = History(tmp_path)
    for name in ("epoch_00002.npz", "epoch_00003.npz", "epoch_notes.npz", "loss.csv"):
        (tmp_path / name).touch()
    history.drop_after(2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_00002.npz", "epoch_notes.npz", "loss.csv"]
