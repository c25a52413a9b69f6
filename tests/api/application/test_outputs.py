"""An output that cannot be written is refused before any work, in one line, and existing files are not touched."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import results_writers as writers
from stored_runs import write_results
from typer.testing import CliRunner, Result

from ptylive.application import offline
from ptylive.application.outputs import (
    beside,
    check_output_file,
    check_output_folder,
    check_results_file,
    maps_lost,
    other_scan,
    reserved_run,
    scan_settings,
)
from ptylive.engine.results import describe_scan, write_maps
from ptylive.engine.results_file import pending_files, pending_path
from ptylive.schema import Calibration, Detector, InputFileError, PtyliveError, RefinementError, Scan, ScanHeader
from ptylive.schema.files.filelock import FileBusyError
from ptylive.server.cli.main import build, named
from ptylive.streamer.recording.recording_writer import created_scan
from ptylive.streamer.source import open_source
from ptylive.streamer.vetting import whole_file


def scan_file(path: Path, uid: str) -> Path:
    header = ScanHeader(uid, "small", 16, Scan(shape=(4, 4), step_A=0.5), detector=Detector(shape=(8, 8)))
    with created_scan(path, header) as writer:
        writer.add_frames(np.arange(16), np.ones((16, 8, 8), np.uint16))
        writer.finish()
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Two recordings and results of both, which no test modifies."""
    folder = tmp_path_factory.mktemp("files")
    for uid, name in (("one", "scan"), ("two", "other")):
        about = describe_scan(uid, scan_file(folder / f"{name}.h5", uid))
        write_maps(folder / f"{name}_results.h5", [], np.ones((4, 4), bool), Calibration(), about)
    return folder


@pytest.fixture
def folder(files, tmp_path) -> Path:
    """Copies of these files, and other paths: text, a folder, links, a preset."""
    for path in files.iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    (tmp_path / "text.txt").write_text("precious = notes\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.h5").symlink_to(tmp_path / "scan.h5")
    os.link(tmp_path / "scan.h5", tmp_path / "hard.h5")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "preset.toml").write_text("[refine]\nepoch_max = 3\n")
    return tmp_path


def invoked(*arguments: str) -> Result:
    """Outcome of a command line; as in real use, only the command in question is built."""
    return CliRunner().invoke(build(named(arguments)), arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


BAD_RESULTS = [
    ("scan.h5", "overwrite the input"),
    ("link.h5", "overwrite the input"),
    ("hard.h5", "overwrite the input"),
    ("other.h5", "is a recording"),
    ("other_results.h5", "results of another scan, other.h5"),
    ("text.txt", "not an HDF5 file"),
    ("folder", "is a folder"),
    ("text.txt/out.h5", "Not a directory"),
    ("round", "cannot be written"),
    ("round/out.h5", "cannot be written"),
    ("/proc/out.h5", "cannot be written"),
    ("/dev/null", "is not a regular file"),
    ("x" * 300, "File name too long"),
]
BAD_RECORDINGS = [
    ("scan.h5", "overwrite the input"),
    ("hard.h5", "overwrite the input"),
    ("other.h5", "holds another scan"),
    ("scan_results.h5", "holds results and no patterns"),
    ("text.txt", "not an HDF5 file"),
    ("folder", "is a folder"),
    ("/proc/out.h5", "cannot be written"),
]
BAD_TEXTS = [
    ("preset.toml", "overwrite the input"),
    ("scan.h5", "exists and holds something else"),
    ("folder", "is a folder"),
    ("/proc/out.toml", "cannot be written"),
]
BAD_FOLDERS = [("scan.h5", "nothing can be written"), ("text.txt/in", "nothing can be"), ("/proc/in", "nothing can be")]
OTHERWISE = "is not the name of an HDF5 file: the output is an HDF5 file: give a name that ends in .h5"
CASES = [
    *(((command, "scan.h5", "-o"), *case) for command in ("refine", "reconstruct") for case in BAD_RESULTS),
    *((("convert", "scan.h5"), *case) for case in BAD_RECORDINGS),
    *((("preset", "preset.toml", "-o"), *case) for case in BAD_TEXTS),
    *((("export", "--to", "tiff", "scan_results.h5"), *case) for case in BAD_FOLDERS),
    *((("analyse", "scan_results.h5"), *case) for case in BAD_FOLDERS),
    *((("refine", "scan.h5", "-o"), name, OTHERWISE) for name in ("out.npy", "out.PNG", "out.csv")),
    (("reconstruct", "scan.h5", "-o"), "maps.tif", OTHERWISE),
    (("convert", "scan.h5"), "counts.npy", OTHERWISE),
    (("simulate",), "scan.mib", OTHERWISE),
    (("dose", "scan.h5", "-o"), "mean.png", OTHERWISE),
    (("larbed", "scan.h5", "--cell", "4,4,90", "-o"), "table.csv", OTHERWISE),
    (("refine", "--resume", "scan.h5", "-o"), "new.h5", "there is no checkpoint"),
]


@pytest.mark.parametrize(("arguments", "target", "words"), CASES)
def test_refused_before_any_work(folder, monkeypatch, arguments, target, words):
    monkeypatch.setattr(whole_file, "is_file", lambda path: False)  # starts no process to look through the input
    monkeypatch.chdir(folder)
    monkeypatch.setattr(offline, "reconstruct_file", lambda *_a, **_k: pytest.fail("work was done"))
    before = contents(folder)
    ended = invoked(*arguments, target)
    assert isinstance(ended.exception, PtyliveError), ended.output
    assert words in ended.exception.line() and "\n" not in ended.exception.line()
    assert Path(target).name[:20] in ended.exception.line() or "checkpoint" in words
    assert contents(folder) == before


def test_what_is_right_is_taken(folder):
    with open_source(folder / "scan.h5") as source:
        for name in ("new.h5", "scan_results.h5", "made/on/the/way/new.h5"):
            check_results_file(folder / name, source)
    check_output_file(folder / "text.txt")
    check_output_folder(folder / "folder" / "new")
    assert not (folder / "made").exists() and not (folder / "folder" / "new").exists()


def test_results_without_a_uid_belong_to_the_file_of_that_name(folder, tmp_path):
    """Files of other programs have no uid of their own."""
    foreign, results = folder / "foreign.h5", folder / "foreign_results.h5"
    with h5py.File(foreign, "w") as file:
        file["data"] = np.ones((4, 4, 8, 8), np.uint16)
    write_maps(results, [], np.ones((4, 4), bool), Calibration(), describe_scan("", foreign))
    old = folder / "old_results.h5"
    write_maps(old, [], np.ones((4, 4), bool), Calibration(), {})
    with open_source(foreign) as source:
        check_results_file(results, source)
        check_results_file(old, source)
        assert other_scan(results, source) == other_scan(old, source) == ""
    with open_source(folder / "scan.h5") as source, pytest.raises(InputFileError, match=r"another scan, foreign\.h5"):
        assert f"another scan than {source.path}, foreign.h5: is it the right file?" in other_scan(results, source)
        check_results_file(results, source)


def test_files_without_a_uid_are_told_by_their_patterns(folder):
    """The same scan under a new name is accepted; another scan with the same file name is not."""
    rng = np.random.default_rng(3)
    for place in ("a", "b"):
        (folder / place).mkdir()
        np.save(folder / place / "scan.npy", rng.integers(0, 9, (4, 4, 8, 8), np.uint16))
    results = folder / "mine.h5"
    with open_source(folder / "a/scan.npy") as source:
        about = scan_settings(source, results)
        write_maps(results, [], np.ones((4, 4), bool), Calibration(), about)
    assert (about["scan_path"], len(about["scan_sha256"])) == ("a/scan.npy", 64)
    with (
        open_source(folder / "b/scan.npy") as source,
        pytest.raises(InputFileError, match="different patterns than"),
    ):
        check_results_file(results, source)
    (folder / "a/scan.npy").rename(folder / "renamed.npy")
    with open_source(folder / "renamed.npy") as source:
        check_results_file(results, source)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputFileError, match="Permission denied"):
        check_output_file(tmp_path / "out.h5")
    with pytest.raises(InputFileError, match="Permission denied"):
        check_output_folder(tmp_path / "out")


def test_two_refinements_never_share_a_checkpoint(tmp_path):
    results, checkpoint = tmp_path / "r.h5", tmp_path / "r.checkpoint"
    with reserved_run(results, checkpoint) as name:
        assert name == "run1"
        with pytest.raises(FileBusyError, match=r"r\.checkpoint is being written by process"):
            with reserved_run(results, checkpoint):
                pass
        writers.refine(results, 1.0, name)
    with pytest.raises(RefinementError):
        with reserved_run(results, checkpoint) as name:
            assert name == "run2"
            raise RefinementError("nothing came of it")
    with reserved_run(results, checkpoint) as name:
        assert name == "run2"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("run.h5", "run.checkpoint"),
        ("run.v1.H5", "run.v1.checkpoint"),
        ("run.nxs", "run.checkpoint"),
        ("run.v1", "run.v1.checkpoint"),
        ("run", "run.checkpoint"),
        ("gold_0.5nm", "gold_0.5nm.checkpoint"),
    ],
)
def test_what_is_written_beside_a_file_has_the_whole_of_its_name(output, expected, tmp_path):
    """Regression: `refine -o run.v1` and `-o run.v2` shared a checkpoint: the second began where the first stopped."""
    assert beside(tmp_path / output, ".checkpoint") == tmp_path / expected


def test_a_refinement_that_waits_for_a_file_that_does_not_exist_makes_it(tmp_path):
    """Regression: if the disk was full when the file was to be created, no command found the refinement afterwards."""
    path = tmp_path / "results.h5"
    writers.refine(path, 1.0)
    path.rename(pending_path(path, "run1"))
    ended = invoked("export", str(path), str(tmp_path / "new"), "--to", "tiff")
    assert ended.exit_code == 0 and list((tmp_path / "new").iterdir())
    assert path.is_file() and not pending_files(path)


@pytest.mark.parametrize(
    ("made", "lost"), [(["bf", "idpc", "idpc_deviation"], []), (["bf"], ["idpc"]), ([], ["bf", "idpc"])]
)
def test_lost_maps_are_those_of_an_earlier_run_without_their_deviations(tmp_path, made, lost):
    with h5py.File(tmp_path / "r.h5", "w") as file:
        for name in ("bf", "idpc", "idpc_deviation"):
            file[f"maps/{name}"] = np.zeros((2, 2))
    assert maps_lost(tmp_path / "r.h5", made) == lost
    assert maps_lost(tmp_path / "none.h5", made) == []


def test_a_file_of_another_program_is_not_replaced_by_a_scan(tmp_path):
    """Regression: the message asked to add a link to the file that would have been replaced."""
    np.save(tmp_path / "scan.npy", np.ones((2, 3, 8, 8), np.uint8))
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["cube/data"] = np.ones((2, 3, 8, 8), np.uint8)
    ended = invoked("convert", str(tmp_path / "scan.npy"), str(tmp_path / "raw.h5"))
    assert isinstance(ended.exception, PtyliveError), ended.output
    line = ended.exception.line()
    assert "raw.h5 exists and is not replaced" in line and line.endswith("choose another name, or remove it first")


def test_a_file_of_maps_alone_says_how_to_export_them(tmp_path):
    writers.save(tmp_path / "maps.h5")
    ended = invoked("export", str(tmp_path / "maps.h5"), str(tmp_path / "out"), "--to", "png")
    assert isinstance(ended.exception, PtyliveError), ended.output
    assert ended.exception.line().endswith(
        "holds no refinement: make one with ptylive refine; ptylive export --to png --maps all writes its maps"
    )


def test_exports_of_a_results_file_are_still_written(tmp_path):
    write_results(tmp_path / "results.h5")
    ended = invoked("export", str(tmp_path / "results.h5"), str(tmp_path / "new"), "--to", "tiff")
    assert ended.exit_code == 0 and list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("name", "to"),
    [("run1_py4dstem.h5", "py4dstem"), ("run1_ptychodus.h5", "ptychodus"), ("run1_ptyrad.hdf5", "ptyrad")],
)
def test_an_export_that_would_be_written_over_its_input_is_refused_before_any_work(tmp_path, monkeypatch, name, to):
    from ptylive.engine.exports import formats

    monkeypatch.setattr(formats, "export", lambda *_: pytest.fail("work was done"))
    write_results(tmp_path / name)
    before = contents(tmp_path)
    ended = invoked("export", str(tmp_path / name), str(tmp_path), "--to", to)
    assert isinstance(ended.exception, PtyliveError), ended.output
    assert "overwrite the input" in ended.exception.line() and name in ended.exception.line()
    assert contents(tmp_path) == before


def test_an_export_into_the_results_file_itself_is_refused(tmp_path):
    path = tmp_path / "results.h5"
    write_results(path)
    ended = invoked("export", str(path), str(path), "--to", "tiff")
    assert isinstance(ended.exception, PtyliveError), ended.output
    assert "choose another folder" in ended.exception.line()


def test_an_error_of_the_refinement_is_not_one_of_its_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError), reserved_run(tmp_path / "r.h5", tmp_path / "r.checkpoint"):
        (tmp_path / "other").stat()
    (tmp_path / "file").touch()
    beside = tmp_path / "file" / "r.checkpoint"
    with pytest.raises(PtyliveError, match="cannot be written"), reserved_run(tmp_path / "r.h5", beside):
        pass
