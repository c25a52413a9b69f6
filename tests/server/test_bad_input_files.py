"""Bad files, one per row: `ptylive inspect` refuses each with one line that names it, and with exit status 1.

The commands share the code that opens files; a few rows at the end go through the others. A row of FILES consists of
the name, the function that makes the file, and words of the answer.
"""

import contextlib
import functools
import gzip
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import pytest
from foreign_files import dm_bytes, dm_image, velox, velox_metadata
from told_messages import is_on_the_page
from typer.main import get_command

from ptylive.server.cli import main as cli
from ptylive.streamer.foreign import rosetta
from ptylive.streamer.vetting import whole_file
from ptylive.streamer.vetting.worker import FileWorker, Limits

BUILD = cli.build
Make = Callable[[Path], object]
SHAPE = (4, 4, 8, 8)
NO_ZSPY = "RosettaSciIO cannot read it" if sys.version_info < rosetta.NO_ZARR else "cannot be installed on Python 3."
NO_HDF5 = "is not an HDF5 file"
NO_TIFF = "is not a readable TIFF"
NO_NUMPY = "is not an array file of numpy"
CUT_SHORT = "is cut short: it is smaller than the array that it announces"
NO_SHAPE = "it must be (Ry, Rx, Qy, Qx)"
NO_TYPE = "store one of |u1"
NO_ARCHIVE = "is not a complete archive of numpy arrays"
DM4 = struct.pack(">lql", 4, 0, 1)
ONE_FILE = "copy the data into one file"


def text(content: str = "hello\n") -> Make:
    return lambda path: path.write_text(content)


def content(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def hdf5(fill: Callable[[h5py.File], object]) -> Make:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            fill(file)

    return make


def data(value: Any) -> Make:
    """A file with this as its /data: an array, a number, a link."""
    return hdf5(lambda file: file.__setitem__("data", value))


def dataset(*arguments: Any, **options: Any) -> Make:
    return hdf5(lambda file: file.create_dataset("data", *arguments, **options))


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(SHAPE, np.uint16)
    layout[:] = h5py.VirtualSource("elsewhere.h5", "data", SHAPE)
    file.create_virtual_dataset("data", layout)


def array(value: Any) -> Make:
    return lambda path: np.save(path, value, allow_pickle=True)


def numpy_header(says: str, behind: bytes = b"") -> Make:
    head = says.encode().ljust(117) + b"\n"
    return content(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + behind)


def cut(make: Make, to: int) -> Make:
    def made(path: Path) -> None:
        make(path)
        path.write_bytes(path.read_bytes()[:to])

    return made


def archive(**arrays: Any) -> Make:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=True, **arrays)

    return make


def digital_micrograph(**changed: Any) -> Make:
    image = dm_image(np.ones(SHAPE, "<u2"), ["nm"] * 4, [1] * 4)
    image["ImageData"] |= changed
    return content(dm_bytes({"ImageList": [image]}))


def mrc(sections: int, rows: int, columns: int, mode: int = 1) -> Make:
    head = struct.pack("<4i", columns, rows, sections, mode).ljust(208, b"\0") + b"MAP DD"
    return content(head.ljust(1024, b"\0") + bytes(2 * 4 * 8 * 8))


def merlin(shape: str, dtype: str, header_bytes: str = "00384") -> Make:
    return content(f"MQ1,000001,{header_bytes},01,{shape},{dtype},   1x1,01,".encode().ljust(384) + bytes(1000))


def tiff(*entries: tuple[int, int, int, int], at: int = 8) -> Make:
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *one) for one in entries)
    return content(b"II*\0" + struct.pack("<I", at) + directory + bytes(4))


def sparse(begin: bytes) -> Make:
    def make(path: Path) -> None:
        path.write_bytes(begin)
        os.truncate(path, 2**40)

    return make


def beside(name: str, make: Make) -> Make:
    """An array with a file that should describe it."""

    def both(path: Path) -> None:
        np.save(path, np.ones((16, 8, 8), np.uint16))
        make(path.with_name(name))

    return both


def symlink(to: str) -> Make:
    return lambda path: path.symlink_to(to)


HUGE = "{'descr': '<u2', 'fortran_order': False, 'shape': (1048576, 1048576, 512, 512), }"
FILES: tuple[tuple[str, Make, str], ...] = (
    ("text.h5", text(), NO_HDF5),
    ("zeros.h5", content(bytes(5000)), NO_HDF5),
    ("magic_only.h5", content(b"\x89HDF\r\n\x1a\n"), "magic_only.h5"),
    ("terabyte.h5", sparse(b"\x89HDF\r\n\x1a\n"), "is damaged, cut short, or was not"),
    ("folder.h5", Path.mkdir, "is not a file: name the .h5 file itself"),
    ("fifo.h5", os.mkfifo, "is not a file"),
    ("circle.h5", symlink("circle.h5"), "circle.h5"),
    ("dangling.h5", symlink("nowhere"), "no such file"),
    ("to_a_device.h5", symlink("/dev/zero"), "is not a file"),
    ("new\nline.h5", text(), f"new line.h5 {NO_HDF5}"),
    ("red\x1b[31m.h5", text(), "red\\x1b[31m.h5"),
    ("bad\udcff.h5", text(), "bad\\udcff.h5"),
    ("$(reboot);'\".h5", text(), "$(reboot);'\".h5"),
    ("%s{0}.h5", text(), "%s{0}.h5"),
    ("no_ending", text(), NO_HDF5),
    ("no_data.h5", hdf5(lambda file: file.create_group("metadata")), "has no data set /data"),
    ("group.h5", hdf5(lambda file: file.create_group("data")), "has no data set /data"),
    (
        "five_axes.h5",
        hdf5(lambda file: file.create_dataset("scans", data=np.zeros((2, 3, 3, 4, 4)))),
        "no data set /data, but /scans (2 x 3 x 3 x 4 x 4): store one scan, of three or four axes",
    ),
    (
        "linked.h5",
        hdf5(lambda file: file.create_group("entry").__setitem__("scan", h5py.ExternalLink("frames.h5", "/data"))),
        "has no data set /data, but /entry/scan is a link to frames.h5, which is not followed: give frames.h5",
    ),
    ("link_to_nowhere.h5", hdf5(lambda file: file.update(data=h5py.SoftLink("/gone"))), "it is a link to /gone, which"),
    ("number.h5", data(3), NO_SHAPE),
    ("words.h5", data(["a", "b"]), NO_SHAPE),
    ("complex.h5", data(np.ones(SHAPE, complex)), NO_TYPE),
    ("references.h5", dataset(SHAPE, h5py.ref_dtype), NO_TYPE),
    ("quadruple.npy", array(np.ones(SHAPE, np.longdouble)), NO_TYPE),
    ("two_dimensions.h5", data(np.ones((4, 4), np.uint16)), NO_SHAPE),
    ("five_dimensions.h5", data(np.ones((2, *SHAPE), np.uint16)), NO_SHAPE),
    ("no_frames.h5", dataset((0, 0, 8, 8), np.uint16), NO_SHAPE),
    ("no_pixels.h5", dataset((4, 4, 0, 0), np.uint16), NO_SHAPE),
    ("null.h5", data(h5py.Empty("<u2")), "null.h5"),
    ("loop.h5", data(h5py.SoftLink("/data")), "no data set /data: it is a link to /data"),
    (
        "two_links.h5",
        hdf5(lambda f: f.update(data=h5py.SoftLink("/b"), b=h5py.SoftLink("/data"))),
        "it is a link to /b",
    ),
    ("nowhere.h5", data(h5py.SoftLink("/elsewhere")), "nowhere.h5"),
    ("external.h5", data(h5py.ExternalLink("/etc/passwd", "/data")), ONE_FILE),
    ("external_self.h5", data(h5py.ExternalLink("external_self.h5", "/data")), ONE_FILE),
    ("external_gone.h5", data(h5py.ExternalLink("gone.h5", "/data")), ONE_FILE),
    ("external_bytes.h5", dataset(SHAPE, np.uint16, external=[("/etc/passwd", 0, 2048)]), ONE_FILE),
    ("virtual.h5", hdf5(virtual), ONE_FILE),
    ("endless_scan.h5", dataset((2**20, 2**20, 512, 512), np.uint16, chunks=(1, 1, 64, 64)), "endless_scan.h5"),
    ("endless_frame.h5", dataset((1, 1, 2**20, 2**20), np.uint16, chunks=(1, 1, 64, 64)), "endless_frame.h5"),
    ("cut.h5", cut(data(np.ones(SHAPE, np.uint16)), 3000), "cut.h5"),
    ("empty.npy", content(b""), f"{NO_NUMPY}, but empty: is the program"),
    ("empty.h5", content(b""), f"{NO_HDF5}, but empty: is the program"),
    ("cut_hdf5.h5", cut(data(np.ones(SHAPE)), 900), "is damaged, cut short, or was not closed properly"),
    ("packed.h5", content(gzip.compress(b"hello")), "but a file compressed with gzip: unpack it"),
    ("packed.npy", content(gzip.compress(b"hello")), f"{NO_NUMPY}, but a file compressed with gzip: unpack it"),
    ("stream.seq", content(b"\xed\xfe\0\0" + bytes(2000)), "but a StreamPix sequence"),
    ("text.mrc", text(), "is not an MRC file"),
    ("cut.mrc", cut(mrc(4, 8, 8), 1100), "is cut short: it has 1100 bytes"),
    ("huge.mrc", mrc(2**30, 2**30, 2**30), "is cut short: it has"),
    ("complex.mrc", mrc(4, 8, 8, mode=4), "holds complex numbers (mode 4)"),
    ("text.npy", text(), NO_NUMPY),
    ("objects.npy", array(np.array([{"a": 1}], dtype=object)), "objects in dtype: save an array of numbers with"),
    ("line.npy", array(np.zeros(7)), NO_SHAPE),
    ("words.npy", array(np.array(["a", "b"])), NO_SHAPE),
    ("complex.npy", array(np.ones(SHAPE, complex)), NO_TYPE),
    ("fields.npy", array(np.zeros(SHAPE, [("a", "<u2"), ("b", "<u2")])), "fields.npy"),
    ("huge_shape.npy", numpy_header(HUGE), CUT_SHORT),
    ("negative_shape.npy", numpy_header(HUGE.replace("1048576", "-1")), "negative_shape.npy"),
    ("code.npy", numpy_header(HUGE.replace("1048576", "__import__('os')")), NO_NUMPY),
    ("deep.npy", numpy_header("{'shape': " + "(" * 90 + "}"), NO_NUMPY),
    ("cut_header.npy", cut(array(np.ones(SHAPE)), 60), NO_NUMPY),
    ("cut_data.npy", cut(array(np.ones(SHAPE)), 900), CUT_SHORT),
    ("future.npy", content(b"\x93NUMPY\x09\x00" + bytes(200)), NO_NUMPY),
    ("folder.npy", Path.mkdir, "is not a file"),
    ("fifo.npy", os.mkfifo, "is not a file"),
    (
        "deep_description.npy",
        beside("deep_description.json", text("[" * 50_000)),
        "deep_description.json is not readable",
    ),
    ("no_description.npy", beside("no_description.json", text("energy: 80")), "no_description.json is not readable"),
    ("alone.json", text("{}"), "has no frames next to it"),
    ("empty.mib", content(b""), "RosettaSciIO cannot read it"),
    ("text.mib", text(), "RosettaSciIO cannot read it"),
    ("negative.mib", merlin("-256,0256", "U16"), "RosettaSciIO cannot read it"),
    ("huge.mib", merlin("9999999,9999999", "U16", "99999999"), "RosettaSciIO cannot read it"),
    ("no_type.mib", merlin("0256,0256", "X99"), "RosettaSciIO cannot read it"),
    ("cut_short.mib", merlin("0256,0256", "U16"), "RosettaSciIO cannot read it"),
    ("of_nothing.hdr", text(), "of_nothing.mib: no such file"),
    ("text.blo", content(b"x" * 50), "RosettaSciIO cannot read it"),
    ("text.hspy", text(), "RosettaSciIO cannot read it"),
    ("text.zspy", text(), NO_ZSPY),
    ("empty.zspy", Path.mkdir, NO_ZSPY),
    ("bad_group.zspy", lambda p: (p.mkdir(), (p / ".zgroup").write_text("{")), NO_ZSPY),
    ("folder.zarr", Path.mkdir, "holds 0 arrays of three or four axes"),
    ("alone.raw", content(bytes(100)), "no .xml file next to it names it"),
    ("alone.xml", text("<a>" * 100_000), "alone.xml"),
    ("bomb.tif", tiff((256, 4, 1, 2**31), (257, 4, 1, 2**31), (258, 3, 1, 16)), NO_TIFF),
    ("loop.tif", tiff(at=0), NO_TIFF),
    ("far.tif", tiff(at=2**31), NO_TIFF),
    ("pictures.png", content(b"\x89PNG\r\n\x1a\n"), NO_HDF5),
    ("archive.npz", content(b"PK\x03\x04"), NO_ARCHIVE),
    ("text.npz", text(), NO_ARCHIVE),
    ("objects.npz", archive(a=np.array([[[{"a": 1}]]], dtype=object)), "objects are not unpickled"),
    ("cut.npz", cut(archive(a=np.ones(SHAPE)), 900), NO_ARCHIVE),
    ("two.npz", archive(a=np.ones(SHAPE), b=np.ones(SHAPE)), "2 arrays of three or four axes"),
    ("words.npz", archive(a=np.full((2, 2, 2), "a")), NO_TYPE),
    ("fifo.npz", os.mkfifo, "is not a file"),
    ("settings.toml", text("x == 3"), NO_HDF5),
    ("zeros.dm4", content(bytes(100)), "RosettaSciIO cannot read it"),
    ("text.dm3", text(), "RosettaSciIO cannot read it"),
    ("cut.dm4", cut(digital_micrograph(), 700), "RosettaSciIO cannot read it"),
    ("huge.dm4", digital_micrograph(Dimensions=[2**30] * 4), "its data need"),
    ("no_images.dm4", content(DM4 + struct.pack(">bbq", 0, 0, 0) + bytes(50)), "not what its reader expects"),
    ("endless.dm4", content(DM4 + struct.pack(">bbq", 0, 0, 2**62) + bytes(50)), "RosettaSciIO cannot read it"),
    ("text_000.tvips", text(), "RosettaSciIO cannot read it"),
    ("huge_000.tvips", content(struct.pack("<13I", 256, 2, *[2**31] * 2, 16, *[0] * 7, 60) + bytes(900)), "huge_000"),
    ("later_001.tvips", text(), "is a later part of a recording"),
    ("text.prz", text(), NO_ARCHIVE),
    ("nothing.prz", archive(a=np.ones(SHAPE)), "no array named data"),
    (
        "velox_image.emd",
        lambda path: velox(path, {"a": (np.ones((3, 8, 8), "<u2"), velox_metadata("m"))}),
        "no series of",
    ),
)
"""Name, function that makes the file, words of the answer."""
PLACES: tuple[tuple[str, str], ...] = (
    ("/dev/zero", "is not a file"),
    ("/dev/null", "is not a file"),
    ("/proc/self/mem", "could not be read"),
    ("/", "is not a file"),
    (".", "is not a file"),
    ("..", "is not a file"),
    ("", "is not a file"),
    ("x" * 300 + ".h5", "x.h5"),
    ("text.h5/inside.h5", "inside.h5"),
    ("http://example.org/scan.h5", "no such file"),
    ("~nobody/scan.h5", "no such file"),
    ("*.h5", "no such file"),
)
"""Arguments other than a file of ours."""
OTHERS = ("reconstruct FILE -o OUT", "refine FILE -o OUT", "convert FILE OUT", "replay FILE")


@pytest.fixture
def worker() -> Iterator[FileWorker]:
    with FileWorker(Limits(memory_bytes=2**30)) as one:
        yield one


@pytest.fixture(autouse=True)
def started_once(worker: FileWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use one command line, and one process that reads files, for all rows."""
    monkeypatch.setattr(cli, "build", assembled)
    monkeypatch.setattr(whole_file._READER, "worker", lambda: contextlib.nullcontext(worker))


@functools.cache
def assembled(named: tuple[str, ...]) -> click.Command:
    """The commands as built by typer, which the program does anew at every start."""
    return get_command(BUILD(named))


def refusal(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    """The one line that a command prints before it ends with 1."""
    monkeypatch.setattr(sys, "argv", ["ptylive", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told, said = capfd.readouterr()
    assert ended.value.code == 1, said
    assert told == ""
    (line,) = said.rstrip("\n").split("\n")
    assert line.isprintable()
    for fault in ("internal error", "Traceback", "Error:", "object has no", "NoneType"):
        assert fault not in line
    assert is_on_the_page(line), "python tools/write_tables.py"
    problem, remedy = line.removeprefix("ptylive: ").rsplit(": ", 1)
    assert problem
    assert remedy
    return line


@pytest.mark.parametrize(("name", "make", "words"), FILES, ids=[ascii(row[0]) for row in FILES])
def test_a_bad_file_is_refused(name, make, words, tmp_path, monkeypatch, capfd) -> None:
    path = tmp_path / name
    make(path)
    line = refusal(["inspect", str(path)], monkeypatch, capfd)
    assert words in line
    assert path.stem[:3] in line


@pytest.mark.parametrize(("name", "words"), PLACES, ids=[row[0][:30] or "empty" for row in PLACES])
def test_what_is_no_file_is_refused(name, words, tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.h5").write_text("hello")
    assert words in refusal(["inspect", name], monkeypatch, capfd)


@pytest.mark.parametrize("command", OTHERS)
@pytest.mark.parametrize(
    "name", ["fifo.h5", "folder.h5", "text.h5", "loop.h5", "external.h5", "objects.npy", "empty.mib"]
)
def test_the_other_commands_refuse_it_too(command, name, tmp_path, monkeypatch, capfd) -> None:
    (make,) = (row[1] for row in FILES if row[0] == name)
    make(tmp_path / name)
    out = tmp_path / "out.h5"
    words = [{"FILE": str(tmp_path / name), "OUT": str(out)}.get(word, word) for word in command.split()]
    assert name in refusal(words, monkeypatch, capfd)
    assert not out.exists()
