"""A results file with many writers: nothing in it is lost, and nothing is ever half written."""

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import results_writers as writers
from quick_first import quick_first

from ptylive.engine import results as results_module
from ptylive.engine import results_file
from ptylive.engine.refine.parameters.refined import Refined
from ptylive.engine.refine.results.phase_deviation import PhaseDeviation
from ptylive.engine.results import Run, add_maps, add_refinement, read_runs, write_maps
from ptylive.engine.results_file import pending_path, release_run, reserve_run
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import Calibration, InputFileError, LiveMap, Origin, PtyliveError, Quantity
from ptylive.schema.files.filelock import FileBusyError
from ptylive.schema.preset import Preset

PROCESSES = multiprocessing.get_context("fork")  # modules that the writers import are already loaded


WAYS_AND_NUMBERS = (("appended", 1), ("rewritten", 5), ("appended", 5))


@pytest.fixture(params=["rewritten", "appended"], autouse=True)
def way(request, monkeypatch):
    """Small files are rewritten and large ones appended to; with "appended" all of them are."""
    if request.param == "appended":
        monkeypatch.setattr(results_file, "APPEND_BYTES", 0)
        monkeypatch.setattr(results_file, "_rewrite", only_new(results_file._rewrite))
    return request.param


def only_new(rewrite):
    """Make the test fail if a file that could have been appended to is rewritten."""

    def checked(path, wanted, before, arrived):
        assert not path.exists(), "rewritten"
        rewrite(path, wanted, before, arrived)

    return checked


@contextmanager
def running(work, *arguments):
    """A running process, killed at the end in any case."""
    process = PROCESSES.Process(target=work, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def wait_for(path: Path, process) -> None:
    while not path.exists():
        assert process.is_alive()
        time.sleep(0.001)


def whole(path: Path) -> dict[str, float]:
    """Runs of a file with the number each was made with; every data set is read."""
    with h5py.File(path, "r") as file:
        values = {}
        if "coverage" in file:
            assert file["coverage"][()].all() and len({float(file[f"maps/{n}"][()].max()) for n in ("bf", "obf")}) == 1
        for name, group in file.get("refinements", {}).items():
            stored = np.unique(group["object"][()])
            assert stored.size == 1 and group["loss"][()].tolist() == [stored[0].real]
            assert Preset.model_validate_json(group.attrs["preset"]) == Preset()
            values[name] = float(stored[0].real)
        return values


def litter(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))


@pytest.mark.parametrize(
    ("way", "each"),
    [("rewritten", 1), *(pytest.param(*each, marks=pytest.mark.slow) for each in WAYS_AND_NUMBERS)],
    indirect=["way"],
)
def test_no_refinement_is_lost_beside_two_that_save(tmp_path, each):
    path, stop = tmp_path / "r.h5", tmp_path / "stop"
    with ExitStack() as stack:
        saving = [stack.enter_context(running(writers.save_until, path, stop)) for _ in range(2)]
        refining = [stack.enter_context(running(writers.refine_many, path, each)) for _ in range(2)]
        for process in refining:
            process.join(120)
        stop.touch()
        for process in saving:
            process.join(60)
        assert [process.exitcode for process in [*refining, *saving]] == [0] * 4
    assert sorted(whole(path), key=lambda name: int(name[3:])) == [f"run{n + 1}" for n in range(2 * each)]
    assert sorted(whole(path).values()) == sorted([float(n) for n in range(each)] * 2)
    assert litter(tmp_path) == []


@pytest.mark.parametrize("name", quick_first(["refinement/object", "maps/bf", "refinement/probe"], 2))
def test_a_flipped_bit_is_seen(tmp_path, name):
    path = tmp_path / "r.h5"
    writers.save(path)
    writers.refine(path, 1)
    with h5py.File(path) as file:
        stored = file[name].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[stored.byte_offset + stored.size // 2] ^= 16
    path.write_bytes(content)
    with h5py.File(path) as file, pytest.raises(OSError, match=r"filter|Fletcher32"):
        file[name][()]
    if name != "maps/bf":
        with pytest.raises(InputFileError):
            StoredRun.read(path)


@pytest.mark.slow
def test_threads_of_one_process_take_turns(tmp_path):
    path, problems = tmp_path / "r.h5", []

    def work(number: int) -> None:
        try:
            for _ in range(3):
                writers.save(path)
                writers.refine(path, number)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert sorted(whole(path).values()) == sorted([float(n) for n in range(4)] * 3)
    assert litter(tmp_path) == []


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_killed_at_any_moment_the_file_is_whole(tmp_path, kills):
    """The content of the file survives every kill, and the next writer includes pending results."""
    path, ready, rng, known = tmp_path / "r.h5", tmp_path / "ready", random.Random(12), {}
    writers.save(path)
    for _ in range(kills):
        ready.unlink(missing_ok=True)
        with running(writers.append_for_ever, path, ready, 64) as process:
            wait_for(ready, process)
            time.sleep(rng.uniform(0.0, 0.25))
        found = whole(path)
        assert known.items() <= found.items()
        known = found
    last = reserve_run(path)
    assert last not in known
    writers.refine(path, 7.0, last)
    found = whole(path)
    assert known.items() <= found.items() and found[last] == 7.0
    assert list(tmp_path.glob("*.pending")) == []


def test_a_refinement_waits_where_another_process_hangs_with_the_file(tmp_path, monkeypatch):
    path, ready = tmp_path / "r.h5", tmp_path / "ready"
    writers.save(path)
    with running(writers.hold, path, ready) as holder:
        wait_for(ready, holder)
        os.kill(holder.pid, signal.SIGSTOP)
        with monkeypatch.context() as patched:
            patched.setattr(results_module.results_file, "apply", impatient)
            stored = writers.refine(path, 3.0)
        assert stored.path == pending_path(path, "run1") and str(holder.pid) in stored.problem
        assert StoredRun.read(stored.path).object[0, 0, 0, 0] == 3.0
        words = f"r.h5 is being written by process {holder.pid} of this machine, since"
        with pytest.raises(FileBusyError, match=words):
            write_maps(path, [], np.ones((2, 2), bool), Calibration(), {}, patience_s=0.0)
        assert reserve_run(path) == "run2"
        assert whole(path) == {}
    writers.save(path)
    assert whole(path) == {"run1": 3.0} and not stored.path.exists()


def impatient(path, *arguments, apply=results_file.apply):
    return apply(path, *arguments, patience_s=0.1)


@pytest.mark.parametrize("content", [b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_a_refinement_waits_where_the_file_is_damaged(tmp_path, content):
    path = tmp_path / "r.h5"
    path.write_bytes(content)
    stored = writers.refine(path, 4.0)
    assert whole(stored.path) == {"run1": 4.0} and stored.path != path
    assert str(path) in stored.problem and "\n" not in stored.problem
    assert path.read_bytes() == content
    path.unlink()
    assert writers.refine(path, 5.0).run == "run2"
    assert whole(path) == {"run1": 4.0, "run2": 5.0}


def test_a_full_disk_sends_the_refinement_elsewhere(tmp_path, monkeypatch):
    folder, spare = tmp_path / "full", tmp_path / "spare"
    folder.mkdir()
    spare.mkdir()
    monkeypatch.setattr(results_module.tempfile, "gettempdir", lambda: str(spare))
    monkeypatch.setattr(results_module.results_file, "created", full_disk(folder))
    stored = writers.refine(folder / "r.h5", 6.0)
    assert (
        stored.path.parent == spare and "No space left" in stored.problem and "move it next to r.h5" in stored.problem
    )
    other = writers.refine(folder / "of another scan" / "r.h5", 7.0)
    assert whole(stored.path) == {"run1": 6.0} and whole(other.path) == {"run1": 7.0}
    monkeypatch.setattr(results_module.results_file, "created", full_disk(tmp_path))
    with pytest.raises(PtyliveError, match="could not be written: No space left on device"):
        writers.refine(folder / "r.h5", 6.0)
    monkeypatch.undo()
    stored.path.rename(folder / stored.path.name)
    writers.save(folder / "r.h5")
    assert whole(folder / "r.h5") == {"run1": 6.0}


@pytest.mark.slow
def test_a_process_lives_on_whose_disk_was_full(tmp_path):
    """After a failed write of its own, HDF5 crashes at some later file, while the server receives frames."""
    script = Path(__file__).with_name("full_disk.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "30\n"), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {f"room{number}.h5" for number in range(30)}


def full_disk(folder: Path):
    """Make files in a folder and below it impossible to write."""
    genuine = results_file.created

    def created(path: Path):
        if path.is_relative_to(folder):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return genuine(path)

    if folder.name == "full":
        return created

    def nowhere(path: Path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    return nowhere


def test_a_damaged_refinement_that_waits_holds_nobody_up(tmp_path, caplog):
    path = tmp_path / "r.h5"
    bad = pending_path(path, "run1")
    bad.write_bytes(b"nothing")
    assert writers.refine(path, 1.0).run == "run2"
    assert whole(path) == {"run2": 1.0} and bad.exists()
    assert str(bad) in caplog.text


def test_names_of_runs_are_nobody_elses(tmp_path):
    path = tmp_path / "r.h5"
    assert [reserve_run(path) for _ in range(3)] == ["run1", "run2", "run3"]
    release_run(path, "run3")
    assert reserve_run(path) == "run3"
    assert writers.refine(path, 1.0, "run2").run == "run2"
    assert reserve_run(path) == "run4"
    assert litter(tmp_path) == [f".r.h5.run{n}.reserved" for n in (1, 3, 4)]


def test_a_name_that_is_taken_after_all_gives_another(tmp_path):
    """The name was reserved for another file, which has been replaced."""
    path = tmp_path / "r.h5"
    assert writers.refine(path, 1.0, "run1").run == "run1"
    assert writers.refine(path, 2.0, "run1").run == "run2"
    assert whole(path) == {"run1": 1.0, "run2": 2.0}


def test_a_resumed_run_takes_the_place_of_its_earlier_state(tmp_path):
    path = tmp_path / "r.h5"
    writers.refine(path, 1.0, "run1")
    run = Run("run1", Preset(), writers.small_result(2.0), goes_on=True)
    assert add_refinement(path, run, Calibration(), {}).run == "run1"
    assert whole(path) == {"run1": 2.0}


def test_a_run_keeps_the_calibration_it_was_refined_under(tmp_path):
    """It is separate from that of the maps, which its trials may have changed; runs of earlier versions have none."""
    path = tmp_path / "r.h5"
    maps, own = (Calibration({"rotation_deg": Quantity(angle, Origin.ESTIMATED)}) for angle in (-10.0, 170.0))
    write_maps(path, [], np.ones((2, 2), bool), maps, {})
    add_refinement(path, Run("run1", Preset(), replace(writers.small_result(1.0), calibration=own)), own, {})
    add_refinement(path, Run("run2", Preset(), writers.small_result(1.0)), maps, {})
    assert [StoredRun.read(path, name).calibration.rotation_deg for name in ("run1", "run2")] == [170.0, -10.0]


def test_everything_else_in_the_file_stays(tmp_path):
    path = tmp_path / "r.h5"
    writers.refine(path, 1.0)
    with h5py.File(path, "a") as file:
        file["notes/mine"], file.attrs["mine"], file["alias"] = "text", "seven", h5py.SoftLink("/notes")
    writers.save(path)
    writers.refine(path, 2.0)
    with h5py.File(path, "r") as file:
        assert file["alias/mine"][()] == b"text" and file.attrs["mine"] == "seven" and file.attrs["default"] == "entry"
        assert file.get("refinement", getlink=True).path == "/refinements/run2"
        assert file["settings"].attrs["version"] == "test"
    assert list(read_runs(path)) == ["run1", "run2"]


@pytest.mark.parametrize(
    ("data", "refusal"), [("data", "is a recording"), ("datacube_root/datacube/data", "is not a results file")]
)
def test_a_scan_file_takes_no_results(tmp_path, data, refusal):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file[data] = np.zeros((2, 2, 4, 4))
    before = path.read_bytes()
    with pytest.raises(InputFileError, match=refusal):
        writers.save(path)
    assert writers.refine(path, 1.0).path != path
    assert path.read_bytes() == before


def test_a_link_and_its_file_are_one(tmp_path):
    (tmp_path / "there").mkdir()
    path, link = tmp_path / "there" / "r.h5", tmp_path / "link.h5"
    writers.save(path)
    link.symlink_to(path)
    assert reserve_run(link) == "run1" and reserve_run(path) == "run2"
    writers.refine(link, 1.0)
    assert link.is_symlink() and whole(path) == {"run3": 1.0}


def test_how_sure_the_phase_is_lies_beside_the_object(tmp_path):
    path = tmp_path / "r.h5"
    shape = writers.small_result(1.0).object.shape[2:]
    told = PhaseDeviation(np.full(shape, 0.02, np.float32), 0.02, 64, lower_bound=True)
    for deviation in (None, told):
        add_refinement(
            path, Run("run", Preset(), replace(writers.small_result(1.0), phase_deviation=deviation)), Calibration(), {}
        )
    with h5py.File(path, "r") as file:
        names = list(file["refinements"])
        assert "phase_deviation" not in file[f"refinements/{names[0]}"]
        stored = file[f"refinements/{names[1]}/phase_deviation"]
        assert (stored.attrs["units"], stored.attrs["median"], stored.attrs["patterns"]) == ("rad", 0.02, 64)
        assert stored.attrs["lower_bound"]
        np.testing.assert_array_equal(stored[()], told.map_rad)
        np.testing.assert_array_equal(
            stored.attrs["origin_A"], file[f"refinements/{names[1]}/object"].attrs["origin_A"]
        )
        assert file[f"entry/{names[1]}_phase_deviation"].attrs["signal"] == "data"


def test_what_was_refined_of_the_instrument_is_kept(tmp_path):
    components = np.arange(2 * 64, dtype=np.complex64).reshape(2, 8, 8) * 1j
    refined = Refined(
        positions_A=np.zeros((4, 2)),
        common_shift_A=np.zeros(2),
        detector_psf_px=0.75,
        relative_thickness=np.array([0.9, 1.0, 1.1, 1.0]),
        opr_components=components,
        opr_coefficients=np.array([[0.1, 0.0], [-0.1, 0.2], [0.0, -0.2], [0.0, 0.0]]),
    )
    path = tmp_path / "results.h5"
    result = replace(writers.small_result(1.0), refined=refined)
    add_refinement(path, Run("one", Preset(), result), Calibration(), writers.SETTINGS)
    found = StoredRun.read(path).refined
    assert float(found["detector_psf_px"]) == 0.75
    np.testing.assert_array_equal(found["relative_thickness"], refined.relative_thickness)
    np.testing.assert_array_equal(found["opr_coefficients"], refined.opr_coefficients)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["refinements/one/opr_components"], components)


def test_added_maps_take_nothing_from_others(tmp_path):
    """Only the added maps are written; what others wrote in the meantime is not reverted."""
    path = tmp_path / "r.h5"
    writers.save(path, 1.0)
    writers.refine(path, 1.0)
    writers.save(path, 2.0)
    for number in (3.0, 4.0):
        add_maps(path, [LiveMap("vd_a", np.full((32, 32), number, np.float32), "counts", (1.0, 1.0), 4, "sum")])
    with h5py.File(path) as file:
        assert {name: float(data[0, 0]) for name, data in file["maps"].items()} == {"bf": 2.0, "obf": 2.0, "vd_a": 4.0}
        assert file["coverage"][()].all() and "run1" in file["refinements"]
        shown = file["entry"]
        assert {name: float(shown[name]["data"][0, 0]) for name in ("bf", "obf", "vd_a")} == {
            "bf": 2.0, "obf": 2.0, "vd_a": 4.0,
        }  # fmt: skip
