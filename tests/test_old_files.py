"""Files written by earlier versions still open, with the same content (tests/fixtures/old/README.md)."""

import hashlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from kept_processes import a_reader_that_stays
from running import last_json, ptylive_here

import ptylive
from ptylive.application.offline import refinable
from ptylive.application.presets import load_preset
from ptylive.engine.refine import refine
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.results import Run, add_refinement, read_runs
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import RefinementError
from ptylive.schema.preset import Preset
from ptylive.server.process.config_file import load_config
from ptylive.server.session import library as library_module
from ptylive.server.session.library import Library
from ptylive.streamer.recording.recording_writer import record
from ptylive.streamer.source import open_source
from ptylive.streamer.vetting.worker import FileWorker

__all__ = ["a_reader_that_stays"]

OLD = Path(__file__).parent / "fixtures" / "old"
FOLDERS = sorted(path.name for path in OLD.iterdir() if path.is_dir())
FIRST, WITH_LBFGS = "2026-11-20-08h57", "2026-11-20-20h11"
DEFAULTS = json.loads(Preset().model_dump_json())
DEFAULTS_THEN = {"source_size_A": 0.3}
"""Former defaults of settings that trials now decide: these files state the values with which they were written."""


def found(pattern):
    """Files of every version that match a pattern."""
    files = sorted(OLD.glob(f"*/{pattern}"))
    return pytest.mark.parametrize("path", files, ids=[f"{path.parent.name}-{path.name}" for path in files])


def expected(path):
    """What the version that wrote a file read from it."""
    return json.loads((path.parent / "expected.json").read_text())[path.name]


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def frames_of(path):
    with open_source(path) as source:
        return np.concatenate([np.asarray(batch.frames) for batch in source.batches(16)])


def not_default(preset):
    """Settings that a user chose."""
    plain = json.loads(preset.model_dump_json())
    return {name: value for name, value in plain.items() if value not in (DEFAULTS[name], DEFAULTS_THEN.get(name))}


RESULTS = found("*_results.h5")


def test_there_are_files_of_every_kind():
    kinds = ("*_source.h5", "coefficients.h5", "*_results.h5", "*_note.json", "*.journal", "*.checkpoint", "*.toml")
    assert len(FOLDERS) == 4
    assert all(len(list(OLD.glob(f"*/{kind}"))) >= 1 for kind in kinds)


@found("*_source.h5")
def test_recordings_of_earlier_versions_are_read(path):
    said = last_json(ptylive_here("inspect", path, "--json"))
    was = expected(path)
    assert (said["frames"], said["received"], said["missing"]) == (64, 64, [])
    assert (said["series"], said["scan_shape"], said["energy_eV"]) == ("source", [8, 8], was["energy_eV"])
    assert said["scan_step_A"] == was["scan_step_A"]
    frames = frames_of(path)
    assert (list(frames.shape), frames.dtype.str, digest(frames)) == (was["shape"], was["dtype"], was["sha256"])


@found("coefficients.h5")
def test_recordings_of_coefficients(path):
    was, vectors = expected(path), frames_of(path)
    assert (list(vectors.shape), vectors.dtype.str, digest(vectors)) == (was["shape"], was["dtype"], was["sha256"])
    with open_source(path) as source:
        assert source.header.uid == was["uid"]
        assert source.header.basis.kind == "zernike"
    maps = ptylive.open_scan(path).reconstruct(["bf", "obf"])
    shapes = {name: made.data.shape for name, made in maps.items()}
    assert shapes == {"bf": (8, 8), "obf": (8, 8), "obf_deviation": (8, 8)}


@found("*.journal")
def test_journals_of_earlier_versions_become_recordings(path, tmp_path):
    journal = Path(shutil.copy(path, tmp_path))
    whole = next(path.parent.glob("*_source.h5"))
    report = record(journal, journal.with_suffix(".h5"))
    assert (report.placed, report.damage, report.torn_bytes) == (8, "", 0)
    assert not journal.exists()
    with open_source(journal.with_suffix(".h5")) as source:
        assert source.received.sum() == 8
    np.testing.assert_array_equal(frames_of(journal.with_suffix(".h5")), frames_of(whole)[:8])


OTHER_DEFAULTS = {"refine_drift": False, "num_slices": 1}
"""Former defaults: a run's settings are those with which it was made."""


def of_old(runs, was):
    """What is reported about runs, restricted to what was reported then: more may be reported now."""
    assert runs.keys() == was.keys()
    return {name: {key: runs[name].get(key) for key in told} for name, told in was.items()}


@RESULTS
def test_results_of_earlier_versions_are_read(path):
    was, run = expected(path), StoredRun.read(path)
    assert of_old(read_runs(path), was["runs"]) == was["runs"]
    assert run.loss.tolist() == was["loss"]
    assert [list(run.object.shape), digest(run.object)] == was["object"]
    assert digest(run.probe) == was["probe"]
    assert run.pixel_A == was["pixel_A"]
    assert (run.calibration.rotation_deg, run.calibration.aberrations["C10"]) == (was["rotation_deg"], was["C10"])
    settings = not_default(run.preset)
    assert {settings.pop(name, value) for name, value in OTHER_DEFAULTS.items()} == set(OTHER_DEFAULTS.values())
    assert settings == was["preset"]


@RESULTS
def test_results_take_another_run(path, tmp_path):
    """The earlier runs and the maps stay unchanged."""
    target = Path(shutil.copy(path, tmp_path))
    was, run = expected(path), StoredRun.read(path)
    with open_source(next(path.parent.glob("*_source.h5"))) as source:
        dataset = refinable(source, run.calibration)
    result = refine(dataset, Preset(epoch_max=1, probe_modes=1, sweeps=1), backend="cpu")
    add_refinement(target, Run("run2", Preset(), result), run.calibration, {})
    runs = read_runs(target)
    assert runs.pop("run2")["state"] == "done"
    assert of_old(runs, was["runs"]) == was["runs"]
    with h5py.File(target) as file:
        assert {name: [d.attrs["units"], digest(d[()])] for name, d in file.get("maps", {}).items()} == was["maps"]


@pytest.fixture
def files():
    with FileWorker() as worker:
        yield worker


@found("*_source.h5")
def test_the_recording_folder(path, tmp_path, files, monkeypatch):
    """The history of a server, and a scan opened from it. Two of the results, of `ptylive refine`, have no maps."""
    monkeypatch.setattr(library_module, "PATIENCE_S", 120.0)  # until it has been read, however busy the machine is
    for one in path.parent.glob(f"{path.stem}*"):
        shutil.copy(one, tmp_path)
    library = Library(tmp_path, files)
    (entry,) = library.history()["scans"]
    was = expected(path.with_name(f"{path.stem}_results.h5"))
    assert of_old(entry["runs"], was["runs"]) == was["runs"]
    assert entry["shape"] == [8, 8]
    if list(path.parent.glob("*_note.json")):
        assert "third grid" in entry["note"]
    scan = library.open(path.name)
    assert {one.name: [one.units, digest(one.data)] for one in scan.rendering.maps} == was["maps"]


def taken_up(folder, tmp_path, **settings):
    """The refinement resumed from a version's checkpoint, with these settings."""
    path = Path(shutil.copy(OLD / folder / "refined.checkpoint", tmp_path))
    run = StoredRun.read(next((OLD / folder).glob("*_results.h5")))
    with open_source(next((OLD / folder).glob("*_source.h5"))) as source:
        dataset = refinable(source, run.calibration)
    preset = run.preset.model_copy(update=settings)
    return refine(dataset, preset, backend="cpu", checkpoint=path, resume=True), run


def test_a_checkpoint_is_gone_on_from(tmp_path):
    result, run = taken_up(WITH_LBFGS, tmp_path, epoch_max=4)
    assert result.loss[: len(run.loss)].tolist() == run.loss.tolist()
    assert (result.state, len(result.loss)) == ("done", 4)
    assert result.loss[-1] < run.loss[-1]


def test_a_checkpoint_from_before_many_settings_is_refused_with_that_reason(tmp_path):
    with pytest.raises(RefinementError, match="belongs to other data or settings, or to another version of ptylive"):
        taken_up(FIRST, tmp_path, sweeps=2, start_from_map=False)


@found("refined.checkpoint")
def test_checkpoints_are_whole(path):
    """Whatever they belong to."""
    with np.load(path) as file:
        header = json.loads(bytes(file["header"]))
    saved = checkpoints.load(path, checkpoints.Identity("", {}, header["identity"]))
    assert saved is not None
    assert len(saved.log.losses) == 2
    assert np.isfinite(saved.state.vector).all()


@found("*preset.toml")
def test_presets_of_earlier_versions_are_read(path):
    assert not_default(Preset.from_mapping(load_preset(path).settings)) == expected(path)


@found("pypty.py")
def test_presets_of_pypty(path):
    """The data term was not taken over then, because it is PyPty's default; now it counts, as it is written out."""
    taken = not_default(Preset.from_mapping(load_preset(path).settings))
    assert taken.pop("algorithm") == "lsq_sqrt"
    assert taken == expected(path.with_name("from_pypty.toml"))
    assert taken == not_default(Preset.from_mapping(load_preset(path.with_name("from_pypty.toml")).settings))


@found("microscope.toml")
def test_configurations_of_earlier_versions_are_read(path):
    config, was = load_config(path, {}, {}), expected(path)
    assert (config.record, config.refine, config.defaults) == (was["record"], was["refine"], was["defaults"])
    assert config.refine_during_scan is was["refine_during_scan"]
