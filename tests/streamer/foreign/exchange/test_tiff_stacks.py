"""TIFF stacks: Pillow's pages, ImageJ's stacks of either byte order; truncated, coloured, with unequal pages."""

import struct

import numpy as np
import pytest
from PIL import Image

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

DATA = np.random.default_rng(4).integers(0, 200, (5, 6, 7))


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


@pytest.mark.parametrize("order", ["<", ">"])
def test_imagej_s_large_stacks(tmp_path, order):
    np.testing.assert_array_equal(read(imagej(tmp_path / "a.tiff", order=order)), DATA)


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
        (unequal, "cannot be read"),
        (huge, "is not a readable TIFF"),
        (lambda path: path.write_bytes(pages(path).read_bytes()[:-40]), "a.tif"),
    ],
)
def test_faulty_files_are_one_line(tmp_path, make, said):
    make(tmp_path / "a.tif")
    with pytest.raises(InputFileError, match=said) as caught:
        read(tmp_path / "a.tif")
    assert "\n" not in caught.value.line()
