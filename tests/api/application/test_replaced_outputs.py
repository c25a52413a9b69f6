"""Commands replace only files that ptylive wrote, of the same kind; others are refused before any work, in one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quick_first import quick_first
from stored_runs import write_results
from stream_tools import stored_recording
from typer.testing import CliRunner, Result

from ptylive.application.analysis.own_analysis import is_name
from ptylive.application.outputs import (
    FILM,
    REPORT,
    check_begun_folder,
    check_checkpoint,
    check_own_file,
    check_own_table,
    write_own,
)
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.loss_table import COLUMNS, write_loss_table
from ptylive.engine.results import write_maps
from ptylive.pictures.film import write_film
from ptylive.pictures.snapshot import png
from ptylive.schema import Calibration, Detector, InputFileError, LiveMap, PtyliveError, Scan, ScanHeader
from ptylive.server.cli.main import build, named
from ptylive.streamer.vetting import whole_file

PIXELS = np.zeros((4, 6, 3), np.uint8)
NOTES = b"precious notes\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a results file of two maps and a refinement."""
    write_results(tmp_path / "r.h5", slices=1, object_modes=1, probe_modes=1)
    data = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    maps = [LiveMap(name, data, "rad", (0.5, 0.5), 30, name) for name in ("idpc", "obf")]
    values = {"energy_eV": 80e3, "rotation_deg": 0.0, "convergence_semiangle_mrad": 20.0}
    given = values | {f"{name}_origin": "given" for name in values}
    write_maps(tmp_path / "r.h5", maps, np.ones((5, 6), bool), Calibration.from_attributes(given), {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoked(*arguments: str) -> Result:
    return CliRunner().invoke(build(named(arguments)), arguments)


COMMANDS = [
    (("report", "r.h5", "page.html"), "page.html"),
    (("report", "r.h5"), "r_report.html"),
    (("compare", "r.h5", "side.png"), "side.png"),
    (("export", "r.h5", "--to", "png", "--maps", "idpc"), "idpc.png"),
    (("export", "r.h5", "--to", "pypty"), "cp.npy"),
    (("export", "r.h5", "--to", "ptychodus"), "run1_ptychodus.h5"),
    (("analyse", "r.h5", "."), "object_on_scan_rad.npy"),
    (("preset", "-o", "own.toml"), "own.toml"),
    (("preset", "--schema", "-o", "schema.json"), "schema.json"),
    (("export", "r.h5", "--to", "tiff", "--maps", "all"), "obf.tiff"),
    (("export", "r.h5", "--to", "hspy", "--maps", "all"), "obf.hspy"),
    (("export", "r.h5", "--to", "nxs"), "run1.nxs"),
    (("export", "r.h5", "--to", "tiff"), "run1_object_phase.tiff"),
    (("analyse", "r.h5", "."), "analysis.json"),
    (("analyse", "r.h5", "."), "probe_mode_0.png"),
]


@pytest.mark.parametrize(("arguments", "name"), quick_first(COMMANDS, 9))
def test_other_files_are_refused_and_own_ones_replaced(folder: Path, arguments: tuple[str, ...], name: str) -> None:
    """Regression: `report`, `compare` and `export` overwrote any file of that name."""
    before = {*folder.iterdir()}
    first = invoked(*arguments)
    assert first.exit_code == 0, first.output
    again = invoked(*arguments)
    assert again.exit_code == 0, again.output
    made = {*folder.iterdir()} - before
    for path in made - {folder / name}:
        path.unlink()
    path = folder / name
    path.write_bytes(NOTES)
    refused = invoked(*arguments)
    assert isinstance(refused.exception, PtyliveError), refused.output
    line = refused.exception.line()
    assert name in line and "exists" in line and line.endswith(("or remove it first", "choose another name"))
    assert "\n" not in line
    assert path.read_bytes() == NOTES and {*folder.iterdir()} == before | {path}, "nothing was written"


OTHERS = [
    ("own.toml", '[server]\nrecord = "scans"\n\n[refine]\nepoch_max = 3\n', ("preset", "-o", "own.toml")),
    ("schema.json", '{"title": "thesis", "properties": {}}', ("preset", "--schema", "-o", "schema.json")),
    ("analysis.json", '{"run": "of another program"}', ("analyse", "r.h5", ".")),
    ("refined.loss.csv", "epoch,chapter\n1,2\n", ("refine", "scan.h5", "-o", "refined.h5")),
    ("refined.checkpoint", "kilometre 12\n", ("refine", "scan.h5", "-o", "refined.h5")),
    ("out/batch.csv", "run,temperature\n", ("batch", "scan.h5", "--out", "out")),
    ("out/batch.html", "<html>", ("batch", "scan.h5", "--out", "out")),
    ("out/best.toml", "[refine]\n", ("tune", "scan.h5", "--over", "defocus", "--out", "out")),
]


@pytest.mark.parametrize(("name", "text", "arguments"), OTHERS)
def test_files_of_the_same_kind_that_somebody_else_wrote_stay(
    folder: Path, name: str, text: str, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_file, "is_file", lambda path: False)  # starts no process to look through the input
    header = ScanHeader("one", "small", 16, Scan(shape=(4, 4), step_A=0.5), detector=Detector(shape=(8, 8)))
    stored_recording(folder, header, np.ones((16, 8, 8), np.uint16)).rename(folder / "scan.h5")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    before = {*folder.rglob("*")}
    refused = invoked(*arguments)
    assert isinstance(refused.exception, InputFileError), refused.output
    assert "exists" in refused.exception.line() and path.name in refused.exception.line()
    assert path.read_text() == text and {*folder.rglob("*")} == before


def test_own_files_that_lie_next_to_those_of_an_earlier_run_are_replaced(folder: Path) -> None:
    write_loss_table(folder / "run.loss.csv", Log(["main"], [1.0], [0.1]))
    check_own_table(folder / "run.loss.csv", COLUMNS)
    np.savez(folder / "run.npz", header=np.zeros(1, np.uint8), sha256=np.zeros(1, np.uint8))
    check_checkpoint(folder / "run.npz")
    check_checkpoint(folder / "new.checkpoint")
    (folder / "first.json").write_text("{}")
    (folder / "table.csv").write_text("a")
    check_begun_folder(folder, "first.json", ["table.csv"])
    with pytest.raises(InputFileError, match=r"table\.csv exists, and without other\.json next to it nothing"):
        check_begun_folder(folder, "other.json", ["page.html", "table.csv"])


def test_every_file_of_an_analysis_is_looked_at_before_it_is_made(folder: Path) -> None:
    assert invoked("analyse", "r.h5", "made").exit_code == 0
    names = [path.name for path in (folder / "made").iterdir()]
    assert len(names) > 10 and [name for name in names if not is_name(name)] == []


def test_a_recording_is_never_replaced_by_an_export(folder: Path) -> None:
    recording = folder / "run1_py4dstem.h5"
    write_results(recording)
    before = recording.read_bytes()
    refused = invoked("export", "r.h5", "--to", "py4dstem")
    assert isinstance(refused.exception, InputFileError), refused.output
    assert "nothing in it says that ptylive wrote it: choose another folder, or remove it" in refused.exception.line()
    assert recording.read_bytes() == before


def test_a_film_and_a_picture_replace_their_own_kind(tmp_path: Path) -> None:
    film, picture = tmp_path / "a.gif", tmp_path / "a.png"
    write_film([PIXELS, PIXELS + 9], film)
    picture.write_bytes(png(PIXELS))
    check_own_file(film, FILM)
    check_own_file(picture, "png")
    for path, kind in ((film, "png"), (picture, FILM), (picture, REPORT)):
        with pytest.raises(InputFileError, match="nothing in it says that ptylive wrote it"):
            check_own_file(path, kind)
    Image.fromarray(PIXELS).save(film, save_all=True, append_images=[Image.fromarray(PIXELS + 9)])
    with pytest.raises(InputFileError, match=r"a\.gif exists.*\nchoose another name, or remove it first"):
        check_own_file(film, FILM)


def test_what_a_server_writes_next_to_a_recording_is_not_written_over_other_files(tmp_path: Path) -> None:
    picture = tmp_path / "scan_side_by_side.png"
    for _ in range(2):
        assert write_own(picture, "png", png(PIXELS)) == picture
    picture.write_bytes(NOTES)
    with pytest.raises(InputFileError, match=r"scan_side_by_side\.png exists.*\nrename it, or remove it first"):
        write_own(picture, "png", png(PIXELS))
    assert picture.read_bytes() == NOTES


def test_hdf5_files_are_looked_through_before_they_are_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One flipped bit can keep the HDF5 library busy for ever."""
    seen: list[Path] = []
    monkeypatch.setattr(whole_file, "vet_results", seen.append)
    with pytest.raises(InputFileError):
        check_own_file(folder / "r.h5", "nxs")
    assert seen == [folder / "r.h5"]
