"""A recording folder with arbitrary content: every readable scan is shown, and the others state why not."""

import errno
import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import stored_runs
from odd_files import fill_with_odd_things, put_loop
from running import last_json, ptylive_here, server
from stream_tools import make_frames, make_header, stored_recording

from ptylive.engine.results import read_runs, write_maps
from ptylive.engine.stored_maps import describe_maps
from ptylive.schema import Calibration, CommandError, InputFileError, LiveMap, MetadataError, Scan
from ptylive.schema.calibration import Origin, Quantity
from ptylive.schema.metadata import overlay
from ptylive.server.commands.runs import read_run, run_curves
from ptylive.server.session import run_names
from ptylive.server.session.library import Library, read_remark, write_note
from ptylive.server.session.run_names import frames_of
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.wire.client import ControlClient
from ptylive.server.wire.messages import array_from_plain
from ptylive.streamer.vetting.known_files import note_written
from ptylive.streamer.vetting.worker import FileWorker


def recorded(folder, **maps):
    """A recording with a results file of these maps; its path."""
    header = make_header()
    path = stored_recording(folder, header, make_frames(header))
    write_results(path, **maps)
    return path


def write_results(path, **maps):
    """A results file of these maps next to a recording; none if there are no maps."""
    if maps:
        made = [LiveMap(name, np.asarray(data, np.float32), "rad", (1.0, 1.0), 42, name) for name, data in maps.items()]
        write_maps(path.with_name(f"{path.stem}_results.h5"), made, np.ones((6, 7), bool), Calibration(), {})


@pytest.fixture
def files():
    with FileWorker() as worker:
        yield worker


def all_entries(library, patience_s=120.0):
    """The history once everything has been read, by name."""
    give_up = time.monotonic() + patience_s
    while True:
        entries = {scan["recording"]: scan for scan in library.history(100)["scans"]}
        if not any("being read" in str(entry.get("problem")) for entry in entries.values()):
            return entries
        assert time.monotonic() < give_up


@pytest.mark.slow
def test_one_bad_file_costs_that_file(tmp_path, files):
    good = recorded(tmp_path, obf=np.arange(42.0).reshape(6, 7))
    odd = fill_with_odd_things(tmp_path)
    put_loop(tmp_path)
    entries = all_entries(Library(tmp_path, files))
    assert entries[good.name]["thumbnail"]["map"] == "obf"
    assert "problem" not in entries[good.name]
    for name in (*odd, "loop.h5"):
        assert name in entries[name]["problem"]


def test_a_past_scan_is_opened_as_it_was_stored(tmp_path, files):
    header = make_header()
    stored = make_frames(header)
    path = stored_recording(tmp_path, header, stored, missing=slice(0, 2))
    write_results(path, obf=np.arange(42.0).reshape(6, 7))
    scan = Library(tmp_path, files).open(path.name)
    assert scan.header == header
    assert scan.ended == "aborted"
    assert scan.status()["frames_per_s"] is None, "not the rate of the scan that came last"
    assert (scan.status()["refused"], scan.status()["recording_state"]) == (0, "complete"), "nor what that lacks"
    assert np.array_equal(scan.rendering.maps[0].data, np.arange(42.0, dtype=np.float32).reshape(6, 7))
    (batch,) = frames_of(scan, files)()
    assert batch.index.tolist() == list(range(2, header.frames))
    assert np.array_equal(batch.frames, stored[2:])


def test_values_that_were_given_while_a_scan_came_are_its_own_when_it_is_opened_again(tmp_path, files):
    """Regression: its maps were made with them, but a refinement silently used those with which it had been sent."""
    header = overlay(make_header(), {"energy_eV": 80e3, "scan_step_A": 0.4, "rotation_deg": 3.0, "Cs_A": 1e4})
    path = stored_recording(tmp_path, header, make_frames(header))
    entries = {
        "energy_eV": Quantity(60e3, Origin.GIVEN),
        "convergence_semiangle_mrad": Quantity(24.0, Origin.GIVEN),
        "scan_step_A": Quantity((0.4, 0.4), Origin.GIVEN),
        "rotation_deg": Quantity(12.0, Origin.ESTIMATED, 0.5),
        "C10": Quantity(-30.0, Origin.ESTIMATED),
        "C30": Quantity(1e4, Origin.GIVEN),
        "disc_radius_px": Quantity(3.0, Origin.GIVEN),
    }
    live_map = LiveMap("obf", np.zeros((7, 6), np.float32), "rad", (0.4, 0.4), 42, "obf")
    coverage = np.ones((7, 6), bool)
    used = Scan(shape=(7, 6), pattern="snake", skip_first=2)
    asked = describe_maps({}, None, used)
    write_maps(path.with_name(f"{path.stem}_results.h5"), [live_map], coverage, Calibration(entries), asked)
    scan = Library(tmp_path, files).open(path.name)
    given = {"energy_eV": 60e3, "convergence_semiangle_mrad": 24.0, "scan_shape": [7, 6]}
    given |= {"C10": None, "rotation_deg": None, "scan_pattern": "snake", "skip_first": 2}
    assert scan.values == given
    assert scan.header == overlay(header, given)
    assert scan.source == header


def test_values_of_a_results_file_that_cannot_be_are_told_and_left_out(tmp_path, files):
    path = recorded(tmp_path, obf=np.zeros((6, 7)))
    results, told = path.with_name(f"{path.stem}_results.h5"), []
    with h5py.File(results, "r+") as file:
        file["calibration"].attrs.update({"energy_eV": -5.0, "energy_eV_origin": "given"})
    scan = Library(tmp_path, files, lambda *line: told.append(line)).open(path.name)
    assert scan.header == scan.source and not scan.values
    ((level, line),) = told
    assert level == "warning" and line.startswith(f"{results.name}: energy_eV = -5 eV is impossible")


def test_a_recording_that_was_replaced_is_read_elsewhere(tmp_path, files, monkeypatch):
    header = make_header()
    path = stored_recording(tmp_path, header, make_frames(header))
    scan = ScanSession(header, None, header, recording=path)
    note_written(path)
    monkeypatch.setattr(run_names, "read_frames", lambda *_: iter(["elsewhere"]))
    assert [batch.frames.shape for batch in frames_of(scan, files)()] == [(42, *header.detector_shape)]
    os.utime(path, ns=(1, 1))
    assert list(frames_of(scan, files)()) == ["elsewhere"]


def test_refinements_are_read_elsewhere_too(tmp_path, files):
    run = stored_runs.write_results(tmp_path / "results.h5")
    path = tmp_path / "results.h5"
    assert list(files.read(read_runs, path)) == [run.name]
    assert files.read(read_run, path, run=run.name)["losses"] == run.loss.tolist()
    assert files.read(run_curves, path, run=run.name)["slices"] == run.slices
    by_slices = array_from_plain(files.read(read_run, path, run=run.name)["slices"])
    assert len(by_slices) == run.slices > 1
    projected = array_from_plain(files.read(read_run, path, run=run.name)["object"])
    np.testing.assert_allclose(by_slices.astype(float).sum(axis=0), projected, atol=2e-3 * np.abs(by_slices).max())
    assert files.read(read_run, path, run=run.name)["falling"] is False
    assert files.read(read_run, path, run=run.name)["stages"] == []
    with h5py.File(path, "r+") as file:
        file["refinements/run1/loss"].attrs["stages"] = [0, 2]
    assert files.read(read_run, path, run=run.name)["stages"] == [0, 2]
    with pytest.raises(InputFileError, match="no refinement 'none'"):
        files.read(read_run, path, run="none")


def test_a_map_without_a_finite_value_has_no_thumbnail(tmp_path, files):
    blank = recorded(tmp_path, obf=np.full((6, 7), np.nan))
    other = recorded(tmp_path, obf=np.full((6, 7), np.nan), bf=np.eye(6, 7))
    entries = all_entries(Library(tmp_path, files))
    assert entries[blank.name]["thumbnail"] is None
    assert entries[other.name]["thumbnail"]["map"] == "bf"
    assert entries[other.name]["thumbnail"]["sampling_A"] == [1.0, 1.0]


def test_a_thumbnail_tells_points_that_were_not_scanned_from_low_values(tmp_path, files):
    """Regression: the rest of an aborted scan had the colour of the value 0, in the middle of those of a phase."""
    obf, covered = np.zeros((6, 7), np.float32), np.zeros((6, 7), bool)
    obf[:2], covered[:2] = np.linspace(-1, -0.5, 7), True
    path = recorded(tmp_path)
    made = [LiveMap("obf", obf, "rad", (1.0, 1.0), 14, "obf")]
    write_maps(path.with_name(f"{path.stem}_results.h5"), made, covered, Calibration(), {})
    shades = array_from_plain(all_entries(Library(tmp_path, files))[path.name]["thumbnail"])
    np.testing.assert_array_equal(shades > 0, covered)
    assert (shades[:2].min(), shades[:2].max()) == (1, 255), "contrast is that of what was scanned"


def test_the_last_refinement_has_a_thumbnail_on_the_scanned_field(tmp_path, files):
    good = recorded(tmp_path)
    results = good.with_name(f"{good.stem}_results.h5")
    stored_runs.write_results(results)
    with h5py.File(results, "r+") as file:
        run = file.copy("refinements/run1", "refinements/run10") or file["refinements/run10"]
        col = np.indices(run["object"].shape[2:])[1]
        place = (col * stored_runs.PIXEL_A + stored_runs.ORIGIN_A[1]) / 4
        run["object"][:] = np.exp(1j * np.where(place > 0.4, 0.1, 0.0))
        run["positions_A"][:] += 0.5
        file.copy("refinements/run10", "refinements/run9")
        file["calibration"].attrs["rotation_deg"] = 0.0
    entry = all_entries(Library(tmp_path, files))[good.name]
    assert entry["object"]["run"] == "run10", "not run9, which comes last by the alphabet"
    phase = array_from_plain(entry["object"])
    assert phase.dtype == np.uint8
    assert max(phase.shape) <= 96
    extent = np.array(phase.shape) * stored_runs.PIXEL_A
    assert extent == pytest.approx([2.68, 3.59], abs=0.13), "the field of the positions, not the object"
    assert phase[:, :4].max() < 20 < 235 < phase[:, 6:].min(), "1.1 Å from the first position to where it is bright"


def test_an_object_that_cannot_be_read_leaves_the_rest_of_its_entry(tmp_path, files):
    good = recorded(tmp_path)
    results = good.with_name(f"{good.stem}_results.h5")
    stored_runs.write_results(results)
    with h5py.File(results, "r+") as file:
        file["refinements/run1/positions_A"][0] = np.nan
    entry = all_entries(Library(tmp_path, files))[good.name]
    assert entry["object"] is None
    assert list(entry["runs"]) == ["run1"]


def test_a_damaged_results_file_leaves_the_recording(tmp_path, files):
    good = recorded(tmp_path)
    results = good.with_name(f"{good.stem}_results.h5")
    library = Library(tmp_path, files)
    for make in (lambda: results.write_text("none"), lambda: (results.unlink(), results.symlink_to(results))):
        make()
        library = Library(tmp_path, files)
        entry = all_entries(library)[good.name]
        assert entry["frames"] == 42
        assert results.name in entry["results_problem"]


def test_a_scan_that_does_the_unexpected_keeps_no_other_waiting(tmp_path, files, monkeypatch):
    good, odd = recorded(tmp_path), recorded(tmp_path)
    library = Library(tmp_path, files)
    entry = library._entry
    monkeypatch.setattr(library, "_entry", lambda path: entry(path if path == good else None))
    entries = all_entries(library, patience_s=20.0)
    assert "cannot be read" in entries[odd.name]["problem"]
    assert entries[good.name]["frames"] == 42


@pytest.mark.parametrize(("line", "words"), [([0, 0, 900, 0], "leaves the object"), ([0, 0, 0, 0], "shorter than")])
def test_a_line_that_the_file_has_no_room_for_is_refused_with_its_name(tmp_path, line, words):
    """A flipped bit in the scale of the object turns any line into one like this."""
    path = tmp_path / "results.h5"
    stored_runs.write_results(path)
    with pytest.raises(MetadataError, match=rf"run1 of .*results\.h5: .*{words}"):
        run_curves(path, "run1", line_A=line)


def test_a_note_that_is_no_note_is_none(tmp_path, files):
    good = recorded(tmp_path)
    note = good.with_name(f"{good.stem}_note.json")
    for text in ("[" * 30_000, '{"note": ' + "1" * 5000 + "}", "x" * 100_000, "null"):
        note.write_text(text)
        assert all_entries(Library(tmp_path, files))[good.name]["note"] == ""


def test_a_note_that_cannot_be_written_is_refused_with_its_name(tmp_path, monkeypatch):
    recording = tmp_path / "scan.h5"
    write_note(recording, "first")

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CommandError, match=r"scan_note\.json could not be written: No space") as refused:
        write_note(recording, "second")
    assert "room" in refused.value.hint
    assert read_remark(recording)["note"] == "first"


@pytest.mark.slow
def test_a_server_on_a_folder_of_damaged_files_answers_receives_and_ends(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    fill_with_odd_things(folder)
    fill_with_odd_things(folder, ".journal")
    loop = put_loop(folder)
    with h5py.File(loop.with_name("other.h5"), "w") as file:
        file["odd/group"] = 1
    with server(folder) as running:
        header = make_header()
        scan = stored_recording(tmp_path, header, make_frames(header))
        last_json(ptylive_here("replay", scan, "--to", running.data, "--rate", "max", "--json"))
        status = running.wait_for(lambda s: s["state"] == "complete")
        assert status["frames"] == header.frames
        with ControlClient(running.control, timeout_s=60.0) as client:
            with pytest.raises(CommandError, match=r"loop\.h5 could not be read"):
                client.call("open", recording="loop.h5")
            assert client.call("history")["count"] >= 10
        running.process.terminate()
        assert running.process.wait(60) == 0


def test_what_was_moved_to_the_trash_is_taken_back_with_all_of_it(tmp_path, files):
    header = make_header()
    path = stored_recording(tmp_path, header, make_frames(header))
    belongs = [path.with_name(f"{path.stem}_{end}") for end in ("results.h5", "obf.png")]
    for one in belongs:
        one.write_bytes(b"x")
    library = Library(tmp_path, files, lambda *_: None)
    library.discard(path)
    assert not any(one.exists() for one in (path, *belongs))
    belongs[0].write_bytes(b"another")
    with pytest.raises(CommandError, match="has been created in the meantime"):
        library.restore(path.name)
    belongs[0].unlink()
    assert library.restore(path.name) == path
    assert all(one.exists() for one in (path, *belongs))
    assert list((tmp_path / ".trash").iterdir()) == []
    for name in (path.name, f"../{path.name}", "", "."):
        with pytest.raises(CommandError, match="is not in the trash"):
            library.restore(name)
