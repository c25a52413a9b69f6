"""A whole session from a script: detectors, calibration and undo, checks, refinement, comparison, export, history."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from running import Server, server

import ptylive
from ptylive.schema import CommandError
from ptylive.server.commands.analysis_commands import AnalysisCommands
from ptylive.server.refinement.refinements import RunState
from ptylive.server.wire.messages import array_from_plain, array_to_plain
from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay


@contextmanager
def with_one_scan(folder: Path) -> Iterator[Server]:
    with server(folder) as one:
        one.call("detectors", detectors=[{"name": "early", "center_px": [31.75, 31.75], "outer_px": 12}])
        replay(bundled("mos2_svac_80kV_focus"), ReplaySettings(to=one.data, rate="max"))
        one.wait_for_results()
        yield one


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has received one scan; every test leaves it unchanged."""
    with with_one_scan(tmp_path_factory.mktemp("scans")) as one:
        yield one


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Server]:
    """The same for one test, which may send further scans."""
    with with_one_scan(tmp_path / "scans") as one:
        yield one


def maps(running: Server) -> dict[str, np.ndarray]:
    return {m["name"]: array_from_plain(m) for m in running.call("snapshot")["maps"]}


def eventually_map(running: Server, name: str) -> np.ndarray:
    give_up = time.monotonic() + 60
    while name not in (found := maps(running)):
        assert time.monotonic() < give_up, sorted(found)
        time.sleep(0.1)
    return found[name]


def finished(running: Server) -> dict:
    return running.wait_for(lambda s: s["state"] == "complete")


def refined(running: Server, run: str) -> dict:
    """Wait for a refinement; the first may have to compile its kernels, which takes minutes on a busy machine."""
    return running.wait_for(lambda s: s["refinement"]["run"] == run and s["refinement"]["state"] == "done")


WORDS = {"haadf": "lost", "bright": "above:0.5", "dark": "ring:30mrad,60mrad", "rings": "profiles:2"}
WRITTEN = [{"name": name, "what": what} for name, what in WORDS.items()]


@pytest.mark.slow
def test_detectors_in_words_are_as_offline(tmp_path: Path) -> None:
    """Set before the scan: placed once its calibration is known, and at its end; earlier frames are read again from the
    recording.
    """
    with server(tmp_path / "scans") as one:
        assert one.call("detectors", detectors=WRITTEN)["detectors"] == WRITTEN
        replay(bundled("mos2_svac_80kV_focus"), ReplaySettings(to=one.data, rate="max"))
        one.wait_for_results()
        wanted = ptylive.open_scan(bundled("mos2_svac_80kV_focus")).reconstruct(["bf"], detectors=WORDS)
        names = [f"vd_{name}" for name in ("haadf", "bright", "dark", "rings_1", "rings_2")]
        for name in names:
            assert eventually_map(one, name) == pytest.approx(wanted[name].data, rel=1e-4, abs=1e-3), name
        for bad, says in (({"name": "m", "what": "/etc/mask.npy"}, "masks are given"), ({"name": "x"}, "center_px")):
            with pytest.raises(CommandError, match=says):
                one.call("detectors", detectors=[bad])
        with pytest.raises(CommandError, match="radii of"):
            one.call("detectors", detectors=[{"name": "none", "what": "disc:1e6mrad"}])
        assert one.call("detectors")["detectors"] == WRITTEN, "what was refused changes nothing"


@pytest.mark.slow
def test_a_detector_drawn_before_the_scan_equals_one_drawn_after(running: Server) -> None:
    early = eventually_map(running, "vd_early")
    disc = {"name": "early", "center_px": [31.75, 31.75], "outer_px": 12}
    ring = {"name": "ring", "center_px": [31.75, 31.75], "inner_px": 16, "outer_px": 40}
    late = {**disc, "name": "late"}
    assert len(running.call("detectors", detectors=[disc, late, ring])["detectors"]) == 3
    assert eventually_map(running, "vd_late") == pytest.approx(early)
    found = maps(running)
    assert np.corrcoef(found["vd_ring"].ravel(), found["adf"].ravel())[0, 1] > 0.95
    with pytest.raises(CommandError, match="inner_px must be less"):
        running.call("detectors", detectors=[{**ring, "inner_px": 50}])
    with pytest.raises(CommandError, match="name"):
        running.call("detectors", detectors=[{**ring, "name": "../x"}])


@pytest.mark.slow
def test_values_are_given_estimated_and_taken_back(running: Server) -> None:
    given = finished(running)["calibration"]["rotation_deg"]
    before = maps(running)["com_row"]
    running.call("configure", values={"rotation_deg": 90.0})
    turned = running.wait_for(lambda s: s["state"] == "complete" and s["calibration"]["rotation_deg"]["value"] == 90.0)
    assert turned["calibration"]["rotation_deg"]["origin"] == "given"
    after = maps(running)
    assert after["com_row"] == pytest.approx(maps(running)["com_row"])
    assert not np.allclose(after["com_row"], before, atol=1e-4)
    running.call("calibrate", names=["rotation_deg"])
    found = running.wait_for(
        lambda s: s["state"] == "complete" and s["calibration"]["rotation_deg"]["origin"] != "given"
    )
    assert found["calibration"]["rotation_deg"]["origin"] in ("estimated", "undecided")
    running.call("undo")
    running.wait_for(lambda s: s["calibration"]["rotation_deg"]["value"] == 90.0)
    running.call("undo")
    back = running.wait_for(lambda s: s["state"] == "complete" and s["calibration"]["rotation_deg"] == given)
    assert back["calibration"]["rotation_deg"] == given
    assert maps(running)["com_row"] == pytest.approx(before)
    with pytest.raises(CommandError, match="nothing to undo"):
        running.call("undo")
    with pytest.raises(CommandError, match="cannot estimate"):
        running.call("calibrate", names=["energy_eV"])


@pytest.mark.slow
def test_defocus_may_be_given_under_either_name(running: Server) -> None:
    running.call("configure", values={"defocus_A": 100.0})
    running.wait_for(lambda s: s["state"] == "complete" and s["calibration"]["C10"]["value"] == -100.0)
    running.call("configure", values={"C10": 50.0})
    running.wait_for(lambda s: s["state"] == "complete" and s["calibration"]["C10"]["value"] == 50.0)
    running.call("undo")
    running.call("undo")
    finished(running)


@pytest.mark.slow
def test_checks_before_a_refinement(running: Server) -> None:
    finished(running)
    checks = {c["name"]: c for c in running.call("check", preset={})["checks"]}
    assert set(checks) == {"overlap", "sampling", "defocus", "rotation", "saturation", "thickness", "memory", "time"}
    assert checks["overlap"]["state"] == "ok"
    assert "step 0.4 Å" in checks["overlap"]["text"]
    assert checks["rotation"]["state"] == "ok"
    assert checks["rotation"]["text"].startswith("given: 0.0°, the data say")


@pytest.mark.slow
def test_a_trotter_is_flat_where_the_aberrations_are_right(running: Server) -> None:
    finished(running)
    found = running.call("trotter")
    assert 0.1 < np.hypot(*found["q_invA"]) < 0.9
    before, after, area = (array_from_plain(found[name]) for name in ("before", "after", "area"))
    assert before.shape == after.shape == area.shape
    assert found["flatness"][1] > 0.8, "in focus nothing has to be taken out"
    running.call("configure", values={"defocus_A": 200.0})
    finished(running)
    wrong = running.call("trotter", q_invA=found["q_invA"])
    assert wrong["q_invA"] == pytest.approx(found["q_invA"])
    assert wrong["flatness"][0] == pytest.approx(found["flatness"][0], abs=0.02)
    assert wrong["flatness"][1] < 0.6
    running.call("undo")
    finished(running)
    with pytest.raises(CommandError, match="two numbers"):
        running.call("trotter", q_invA=[1.0])


@pytest.mark.slow
def test_runs_are_compared(running: Server) -> None:
    finished(running)
    for epochs in (1, 2):
        running.call("refine", preset={"epoch_max": epochs, "sweeps": epochs, "probe_modes": 1}, history=epochs - 1)
        refined(running, f"run{epochs}")
    reply = running.call("runs", pictures=["run1", "run2"])
    assert [r["epochs"] for r in reply["runs"].values()] == [1, 2]
    first, second = reply["pictures"]
    assert len(first["losses"]) == 1
    assert second["preset"]["epoch_max"] == 2
    assert array_from_plain(first["object"]).shape == array_from_plain(second["object"]).shape
    agreement = running.call("analyse", run="run2", other="run1", line_A=[5, 2, 5, 12])
    assert agreement["slices"] == 1
    assert agreement["section"] is None
    rings = agreement["ring_correlation"]
    assert len(rings["frequencies_invA"]) == len(rings["correlation"]) == len(rings["half_bit"])
    assert max(rings["correlation"]) > 0.8
    with pytest.raises(CommandError, match="no run 'run9'"):
        running.call("analyse", run="run9")
    with pytest.raises(CommandError, match="four numbers"):
        running.call("analyse", run="run2", line_A=[1, 2])
    positions = second["positions"]
    before, after = (array_from_plain(positions[name]) for name in ("before", "after"))
    assert before.shape == after.shape
    assert before[1] - before[0] == pytest.approx([0, 1.2], abs=1e-4), "every third of 0.4 Å"
    assert positions["rms_A"] == pytest.approx(np.sqrt(((after - before) ** 2).sum(1).mean()), abs=0.02)
    beside = running.call("side_by_side")
    (sheet,) = map(Path, beside["files"])
    assert sheet.name.endswith("_side_by_side.png")
    assert Image.open(io.BytesIO(sheet.read_bytes())).size[0] > 700, "four pictures beside each other"
    assert {"obf", "idpc", beside["run"]} <= set(beside["shown"])
    assert beside["correlation"]["obf"] > 0.5
    film = running.call("film")
    assert (film["run"], film["pictures"], film["epoch"]) == ("run2", 3, 2), "the start, and after each epoch"
    with Image.open(film["path"]) as shown:
        assert (shown.format, shown.n_frames) == ("GIF", 3)
    with pytest.raises(CommandError, match="no history of run1 was stored"):
        running.call("film", run="run1")
    with pytest.raises(CommandError, match="is not a refinement"):
        running.call("film", run="../run1")
    (floats,) = running.call("export", map="object", formats=["tiff"])["files"]
    with Image.open(floats) as tiff:
        assert np.asarray(tiff).shape == array_from_plain(second["object"]).shape
    with pytest.raises(CommandError, match="no slice '3'"):
        running.call("export", map="slice:3")
    with pytest.raises(CommandError, match="no refinement 'x'"):
        running.call("runs", pictures=["x"])


@pytest.mark.slow
def test_a_map_leaves_as_picture_and_as_numbers(running: Server) -> None:
    finished(running)
    reply = running.call("export", map="adf", colour_map="viridis")
    picture, floats = map(Path, reply["files"])
    shown = Image.open(io.BytesIO(picture.read_bytes()))
    assert shown.size == (768, 768)
    corner = np.asarray(shown)[-90:, :260]
    assert (corner == 255).all(axis=-1).any(), "the scale bar is white"
    with Image.open(floats) as tiff:
        assert np.asarray(tiff) == pytest.approx(maps(running)["adf"])
        assert "unit=nm" in tiff.tag_v2[270]
        assert float(tiff.tag_v2[282]) == pytest.approx(25.0)
    (signal,) = running.call("export", map="obf", formats=["hspy"])["files"]
    with h5py.File(signal) as file:
        assert np.array_equal(file["Experiments/obf/data"], maps(running)["obf"])
        assert file["Experiments/obf/axis-0"].attrs["units"] == "Å"
    assert running.call("export", map="obf", formats=["hspy"])["files"] == [str(signal)], "its own file is replaced"
    for name, call in (("adf.png", {"command": "export", "map": "adf"}), ("report.html", {"command": "report"})):
        taken = picture.with_name(picture.name.replace("adf.png", name))
        taken.write_text("notes")
        with pytest.raises(CommandError, match="exists, and nothing in it says that ptylive wrote it"):
            running.call(**call)
        assert taken.read_text() == "notes"
    beside = running.call("side_by_side")
    with Image.open(beside["path"]) as sheet:
        assert sheet.size[0] > 700, "pictures beside each other"
    refined_before = set(running.call("runs")["runs"])
    assert beside["run"] in (refined_before or {""})
    assert bool(beside["correlation"]) == bool(refined_before)
    assert {"obf", "idpc"} <= set(beside["shown"])
    with pytest.raises(CommandError, match="cannot export 'exe'"):
        running.call("export", map="adf", formats=["exe"])
    with pytest.raises(CommandError, match="no map"):
        running.call("export", map="../../x")


@pytest.mark.slow
def test_history_note_and_a_past_scan_opened_again(alone: Server) -> None:
    live = finished(alone)
    alone.call("note", text="nice grain, tilt 0.3°")
    replay(bundled("au_ac_300kV_parallax"), ReplaySettings(to=alone.data, rate="max"))
    alone.wait_for(lambda s: s["state"] == "complete" and s["uid"] != live["uid"] and s["results"])
    while "being read" in str(scans := alone.call("history")["scans"]):
        time.sleep(0.1)
    assert len(scans) == 2
    old = next(s for s in scans if s["uid"] == live["uid"])
    assert old["note"] == "nice grain, tilt 0.3°"
    assert max(old["thumbnail"]["shape"]) <= 96
    assert old["thumbnail"]["map"] == "obf"
    assert old["lost"] == 0

    alone.call("open", recording=old["recording"])
    opened = alone.wait_for(lambda s: s["uid"] == live["uid"])
    assert opened["state"] == "complete"
    assert opened["calibration"]["rotation_deg"]["value"] == live["calibration"]["rotation_deg"]["value"]
    assert "obf" in maps(alone)
    again = alone.wait_for(lambda s: s["dose"].get("curve") and s["dose"].get("per_A2"))["dose"]
    assert again["per_A2"] == pytest.approx(live["dose"]["per_A2"], rel=0.01)  # all frames of a small scan are read
    limits = [told["curve"]["measured"][0]["limit_A"] for told in (again, live["dose"])]
    assert limits[0] == pytest.approx(limits[1])
    assert {"pattern", "pattern_mean"} <= set(maps(alone))
    alone.call("configure", values={"rotation_deg": 10.0})
    alone.wait_for(lambda s: s["state"] == "complete" and s["calibration"]["rotation_deg"]["value"] == 10.0)
    alone.call("undo")
    refined(alone, alone.call("refine", preset={"epoch_max": 1, "sweeps": 1, "probe_modes": 1})["run"])
    alone.call("open")
    assert alone.status()["uid"] != live["uid"]
    with pytest.raises(CommandError, match="no recording"):
        alone.call("open", recording="../../etc/passwd")


@pytest.mark.slow
def test_refinements_wait_in_line(running: Server) -> None:
    uid = finished(running)["uid"]
    known = len(running.call("runs")["runs"])
    first, second, third = (f"run{known + i}" for i in (1, 2, 3))
    long = {"epoch_max": 60, "sweeps": 60, "probe_modes": 1}
    assert running.call("refine", preset=long)["run"] == first
    with pytest.raises(CommandError, match="stop it first"):
        running.call("refine", preset=long)
    assert running.call("refine", preset=long, queue=True) == {"run": second, "state": "waiting", "uid": uid}
    assert running.call("refine", preset={**long, "epoch_max": 1, "sweeps": 1}, queue=True)["run"] == third
    assert [w["run"] for w in running.status()["refinement"]["waiting"]] == [second, third]
    running.call("refine_withdraw", run=second)
    with pytest.raises(CommandError, match="waits"):
        running.call("refine_withdraw", run=second)
    running.call("refine_stop")
    done = refined(running, third)
    assert done["refinement"]["waiting"] == []


@pytest.mark.slow
def test_looking_back_replaying_and_deleting(alone: Server) -> None:
    live = finished(alone)
    recording = Path(live["recording"]).name
    assert alone.call("record")["on"] is True
    assert alone.call("record", on=False)["on"] is False
    alone.call("replay", recording=recording, rate=1e5)
    replayed = alone.wait_for(lambda s: s["state"] == "complete" and s["uid"] != live["uid"])
    assert replayed["recording"] == "", "recording was switched off"
    assert replayed["frames"] == live["frames"]
    assert alone.call("record", on=True)["on"] is True
    alone.wait_for(lambda s: len(alone.call("scans")["scans"]) >= 2)
    before = next(s for s in alone.call("scans")["scans"] if s["uid"] == live["uid"])
    recent = alone.call("snapshot", uid=live["uid"])
    assert recent["state"]["series"] == before["series"]
    assert {m["name"] for m in recent["maps"]} == set(before["maps"])
    with pytest.raises(CommandError, match="not in memory"):
        alone.call("snapshot", uid="nobody")

    count = alone.call("history")["count"]
    with pytest.raises(CommandError, match="sure=true"):
        alone.call("delete", recording=recording)
    assert alone.call("history")["count"] == count
    trash = Path(alone.call("delete", recording=recording, sure=True)["path"])
    assert trash.is_file()
    assert trash.parent.parent.name == ".trash"
    assert [p.name for p in trash.parent.glob("*_results.h5")] == [recording.replace(".h5", "_results.h5")]
    assert alone.call("history")["count"] == count - 1
    with pytest.raises(CommandError, match="no recording"):
        alone.call("delete", recording="../" + recording, sure=True)


@pytest.mark.slow
def test_the_pattern_of_a_point_is_that_of_the_recording(running: Server) -> None:
    from ptylive.streamer.source import open_source

    with open_source(bundled("mos2_svac_80kV_focus")) as source:
        one, row = source.frames(np.array([5 * 64 + 7]))[0], source.frames(np.arange(5 * 64 + 7, 5 * 64 + 10))
    found = running.call("pattern", point=[5, 7])
    assert found["frames"] == 1
    assert np.array_equal(array_from_plain(found["pattern"]), one)
    found = running.call("pattern", point=[5, 9], to=[5, 7])
    assert found["frames"] == 3
    assert array_from_plain(found["pattern"]) == pytest.approx(row.mean(axis=0, dtype=float), rel=1e-6)
    assert running.call("pattern", point=[0, 0], to=[63, 63])["frames"] == 1024, "every fourth"
    for point, match in (([64, 0], "outside this scan"), ([1.5, 2], "a point is"), ([1], "a point is")):
        with pytest.raises(CommandError, match=match):
            running.call("pattern", point=point)


def test_amplitudes_of_the_object_and_of_its_slices_are_exported_as_such() -> None:
    arrays = np.arange(12.0, dtype=np.float32).reshape(2, 2, 3)
    slices, first = array_to_plain(arrays), array_to_plain(arrays[0])
    run = RunState(uid="u", object=first, slices=slices, slice_amplitudes=slices, object_amplitude=first)
    commands = AnalysisCommands.__new__(AnalysisCommands)
    commands._refinements = SimpleNamespace(current=run)  # type: ignore[assignment]
    scan: Any = SimpleNamespace(uid="u", pictures={})
    second = array_from_plain(commands._to_export(scan, "slice_amplitude:2"))
    np.testing.assert_array_equal(second, arrays[1])
    assert commands._to_export(scan, "object_amplitude") is first
    with pytest.raises(CommandError, match="no slice '3'"):
        commands._to_export(scan, "slice_amplitude:3")
    run.slice_amplitudes = run.object_amplitude = None
    for name in ("object_amplitude", "slice_amplitude:1"):
        with pytest.raises(CommandError, match="has a phase only"):
            commands._to_export(scan, name)
