"""TIFF stacks: Pillow's pages, ImageJ's stacks of either byte order; truncated, coloured, with unequal pages."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from written_tiffs import tiff

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

DATA = np.random.default_rng(4).integers(0, 200, (5, 6, 7))
COUNTS = DATA.astype("u2")


def pages(path, dtype="u2", compression=None, data=DATA):
    images = [Image.fromarray(page.astype(dtype)) for page in data]
    images[0].save(path, save_all=True, append_images=images[1:], compression=compression)
    return path


def imagej(path, count=5, order="<"):
    """One page that describes all pages, whose pixels follow each other."""
    text = f"ImageJ=1.53\nimages={count}\nslices={count}\n\0".encode()
    start = 8 + 10 * 12 + 6 + len(text)
    entries = [(256, 3, 7), (257, 3, 6), (258, 3, 16), (259, 3, 1), (262, 3, 1), (270, 2, 8 + 6 + 120), (273, 4, start),
               (277, 3, 1), (278, 3, 6), (279, 4, 84)]  # fmt: skip
    raw = struct.pack(f"{order}2sHI", b"MM" if order == ">" else b"II", 42, 8) + struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        count_of = len(text) if tag == 270 else 1
        raw += struct.pack(f"{order}HHI", tag, kind, count_of)
        raw += struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
    raw += struct.pack(f"{order}I", 0) + text
    path.write_bytes(raw + DATA.astype(f"{order}u2").tobytes())
    return path


def read(path):
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count))


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
@pytest.mark.parametrize("compression", [None, "tiff_deflate"])
def test_a_pattern_on_each_page(tmp_path, dtype, compression):
    found = read(pages(tmp_path / "a.tif", dtype, compression))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, DATA)


IMAGEJ = "ImageJ=1.11a\nimages=6\n"


@pytest.mark.parametrize(
    ("text", "shape", "words"),
    [
        ('{"shape": [2, 3, 4, 5]}', (2, 3), "of the array that was saved"),
        ('{"shape": [6, 4, 5]}', None, ""),
        ('{"shape": [2, 3, 5, 4]}', None, ""),
        ('{"shape": [2, 2, 4, 5]}', None, ""),
        (f"{IMAGEJ}slices=2\nframes=3\nhyperstack=true\n", (3, 2), "guessed from the axes of the hyperstack: check it"),
        (f"{IMAGEJ}channels=3\nslices=2\n", (2, 3), "guessed from"),
        (f"{IMAGEJ}slices=6\n", None, ""),
        (f"{IMAGEJ}channels=2\nslices=2\nframes=2\n", None, ""),
        ("nothing", None, ""),
    ],
)
def test_a_scan_shape_in_the_description(tmp_path, text, shape, words):
    """tifffile notes the shape of an array with four axes, ImageJ the axes of a hyperstack."""
    data = np.arange(6 * 4 * 5, dtype="u2").reshape(6, 4, 5)
    with open_source(tagged(tmp_path / "a.tif", {270: text}, data)) as source:
        np.testing.assert_array_equal(source.frames(np.arange(6)), data)
        assert source.header.scan.shape == shape
        assert any(words in note for note in source.notes if "scan_shape" in note)


def test_an_array_that_tifffile_saved_truncated(tmp_path):
    """Regression: the first pattern was taken for the whole scan, without a word."""
    path = tmp_path / "a.tif"
    tagged(path, {270: '{"shape": [2, 3, 4, 5], "truncated": true}'}, np.arange(20, dtype="u2").reshape(1, 4, 5))
    path.write_bytes(path.read_bytes() + np.arange(20, 120, dtype="<u2").tobytes())
    with open_source(path) as source:
        np.testing.assert_array_equal(source.frames(np.arange(6)).ravel(), np.arange(120))
        assert source.header.scan.shape == (2, 3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_imagej_s_large_stacks(tmp_path, order):
    np.testing.assert_array_equal(read(imagej(tmp_path / "a.tiff", order=order)), DATA)


def tagged(path, tags, data=COUNTS):
    """Pages with more tags, each of one number."""
    images = [Image.fromarray(page) for page in data]
    images[0].save(path, save_all=True, append_images=images[1:], tiffinfo=tags)
    return path


def of_two_samples(path):
    """A grey page with a second sample that no tag explains, as tifffile writes arrays (rows, columns, 2)."""
    entries = [(256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 2, 0x80008), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 200),
               (277, 3, 1, 2), (278, 3, 1, 4), (279, 4, 1, 32), (338, 3, 1, 0)]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    path.write_bytes((b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)).ljust(232, b"\0"))


@pytest.mark.parametrize("orientation", [1, 3, 4])
def test_the_orientation_of_pages_turns_none_of_them(tmp_path, orientation):
    """Pillow turns the page that it loads first, and not the others."""
    with open_source(tagged(tmp_path / "a.tif", {274: orientation})) as source:
        for number in (4, 0, 1, 0):
            np.testing.assert_array_equal(source.frames(np.array([number]))[0], DATA[number])


@pytest.mark.parametrize(("stored", "wanted"), [("u1", "i1"), ("i4", "u4")])
def test_the_sign_of_pixels_is_that_of_their_tags(tmp_path, stored, wanted):
    """Pillow has one mode for numbers with and without sign."""
    pixels = DATA.astype(stored)
    pixels[0, 0, 0] = -1 if stored == "i4" else 255
    path = tagged(tmp_path / "a.tif", {339: 2}, pixels)
    if wanted == "u4":
        path.write_bytes(path.read_bytes().replace(tag(339, 2), tag(339, 1)))
    found = read(path)
    assert found.dtype == np.dtype(wanted)
    np.testing.assert_array_equal(found, pixels.view(wanted))


def tag(number, value):
    return struct.pack("<HHIHH", number, 3, 1, value, 0)


def test_pages_where_0_is_white_hold_the_numbers_that_are_stored(tmp_path):
    path = pages(tmp_path / "a.tif", "u1")
    path.write_bytes(path.read_bytes().replace(tag(262, 1), tag(262, 0)))
    np.testing.assert_array_equal(read(path), DATA)


def test_damaged_tags_that_are_not_used_print_nothing(tmp_path, recwarn):
    path = tagged(tmp_path / "a.tif", {305: "a program"})
    path.write_bytes(path.read_bytes().replace(struct.pack("<HHI", 305, 2, 10), struct.pack("<HHI", 305, 2, 2**20)))
    np.testing.assert_array_equal(read(path), DATA)
    assert not recwarn.list


@pytest.mark.parametrize("tag", [256, 257, 258, 278])
def test_numbers_that_are_stored_as_text_are_refused(tmp_path, tag):
    """Regression: a TypeError for the rows of a strip, which names neither file nor field."""
    path = tiff(tmp_path / "a.tif", COUNTS, compression=8)
    raw, entry = path.read_bytes(), struct.pack("<HHI", tag, 4, 1)
    assert entry in raw
    path.write_bytes(raw.replace(entry, struct.pack("<HHI", tag, 2, 1)))
    with (
        pytest.raises(InputFileError, match=r"a\.tif: its pages have|a\.tif is not a readable TIFF"),
        open_source(path),
    ):
        pass


def test_tags_with_too_many_values_print_nothing(tmp_path, recwarn):
    path = tiff(tmp_path / "a.tif", COUNTS, t270=[1, 2, 3])
    np.testing.assert_array_equal(read(path), COUNTS)
    assert not recwarn.list


def test_a_damaged_page_stays_damaged(tmp_path):
    """Regression: when it was read once more, Pillow returned zeros for it."""
    path = tiff(tmp_path / "a.tif", COUNTS, compression=8)
    stored = zlib.compress(COUNTS[1].tobytes())
    path.write_bytes(path.read_bytes().replace(stored, stored[:8] + bytes(len(stored) - 8)))
    with open_source(path) as source:
        for number in (1, 1, 0, 1, 2):
            if number == 1:
                with pytest.raises(InputFileError, match="frame 1 cannot be read: its bytes are damaged"):
                    source.frames(np.array([1]))
            else:
                np.testing.assert_array_equal(source.frames(np.array([number]))[0], COUNTS[number])


def test_pages_with_strips_for_a_part_of_their_rows_are_refused(tmp_path):
    """Regression: the other rows were read as zeros."""
    with (
        pytest.raises(InputFileError, match="its pages have 40 rows, and strips for 6"),
        open_source(tiff(tmp_path / "a.tif", COUNTS, t257=40)),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a TIFF, but empty"),
        (b"\x89HDF\r\n\x1a\n", "but an HDF5 file"),
        (b"II*\0", "is not a readable TIFF"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, content, words):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(InputFileError, match=words), open_source(tmp_path / "a.tif"):
        pass


def unequal(path):
    images = [Image.fromarray(np.zeros(shape, "u2")) for shape in ((4, 4), (4, 5))]
    images[0].save(path, save_all=True, append_images=images[1:])


def huge(path):
    imagej(path, count=1)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<HHIHH", 256, 3, 1, 7, 0), struct.pack("<HHII", 256, 4, 1, 2**31 - 1)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"II*\0"), "is not a readable TIFF"),
        (lambda path: path.write_text("hello"), "is not a readable TIFF"),
        (lambda path: imagej(path, count=10**9), "is cut off: it announces"),
        (lambda path: Image.new("RGB", (4, 4)).save(path, format="TIFF"), "its pages are RGB, not greyscale"),
        (unequal, "page 1 is 4 x 5 uint16, the first is 4 x 4 uint16"),
        (lambda path: tagged(path, {274: 6}), "its pages lie on their side"),
        (lambda path: tagged(path, {32997: 5}), "its pages are volumes of 5 layers"),
        (lambda path: Image.new("1", (4, 4)).save(path, format="TIFF"), "its pages have 1 bit per pixel"),
        (of_two_samples, "its pages have 8 \\+ 8 bits per pixel"),
        (huge, "is not a readable TIFF"),
        (lambda path: path.write_bytes(pages(path).read_bytes()[:-40]), "a.tif"),
    ],
)
def test_faulty_files_are_one_line(tmp_path, make, said):
    make(tmp_path / "a.tif")
    with pytest.raises(InputFileError, match=said) as caught:
        read(tmp_path / "a.tif")
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_libtiff_prints_nothing_about_damaged_pages(tmp_path, capfd, compression):
    """Regression: lines like "tempfile.tif: Using code not yet in table." between those of ptylive."""
    noise = np.random.default_rng(0).integers(0, 2**16, (4, 64, 64)).astype("u2")
    path = pages(tmp_path / "a.tif", compression=compression, data=noise)
    content = bytearray(path.read_bytes())
    content[300:420] = b"\xff" * 120
    path.write_bytes(content)
    with open_source(path) as source, pytest.raises(InputFileError, match=r"a\.tif: frame 0 cannot be read"):
        source.frames(np.arange(4))
    assert capfd.readouterr().err == ""
