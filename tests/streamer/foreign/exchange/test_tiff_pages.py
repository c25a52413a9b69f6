"""Pages of TIFF files read by their tags: every type and byte order, strips and tiles, predictors, damage."""

import struct

import numpy as np
import pytest
from written_tiffs import tiff

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.exchange import tiff_pages
from ptylive.streamer.foreign.exchange.tiff_pages import RawPages
from ptylive.streamer.source import open_source

RNG = np.random.default_rng(27)


def numbers(dtype, shape=(3, 7, 10)):
    """Numbers that use all bytes of their type."""
    if np.dtype(dtype).kind == "f":
        return RNG.normal(0, 3, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def read(path):
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count)), source.notes


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("form", [{}, {"big": True}, {"compression": 8}], ids=["plain", "BigTIFF", "deflated"])
def test_numbers_are_those_that_are_stored(tmp_path, dtype, order, form):
    """Regression: of 64 bits or float16 refused as damaged, and deflated ones of big-endian machines read as noise."""
    data = numbers(dtype)
    frames, _ = read(tiff(tmp_path / "a.tif", data, order, **form))
    wanted = data.astype({"f2": "f4", "i8": "f8", "u8": "f8"}.get(dtype, dtype))  # as patterns of any file
    assert frames.dtype == wanted.dtype
    np.testing.assert_array_equal(frames, wanted)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("size", "tiled"), [((3, 10), False), ((16, 16), True), ((4, 4), True)])
@pytest.mark.parametrize(("dtype", "predictor"), [("u2", 2), ("i4", 2), ("f4", 2), ("f8", 3), ("f2", 3), ("f4", 3)])
def test_strips_tiles_and_predictors(tmp_path, dtype, predictor, size, tiled, order):
    data = numbers(dtype)
    path = tiff(tmp_path / "a.tif", data, order, size=size, tiled=tiled, compression=8, predictor=predictor)
    np.testing.assert_array_equal(RawPages(path)[0:3], data)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"t259": 5}, "its pages are compressed with LZW, which is not undone for float64"),
        ({"t259": 77}, "its pages are compressed with method 77, which"),
        ({"t339": 6}, "its pixels are not real numbers"),
        ({"t258": 128}, "its pages have 128 bits per pixel"),
        ({"t259": 8, "t317": 34892}, "its pages have the predictor 34892, which is not known for float64"),
        ({"t259": 8}, "a.tif: frame"),
        ({"t266": 2}, "the bits of its bytes are stored in reverse"),
        ({"t274": 6}, r"its pages lie on their side \(orientation 6\)"),
        ({"t256": 2**31}, "its pages are 7 x 2147483648"),
        ({"t256": 0}, "its pages are 7 x 0"),
        ({"t278": 2}, "a.tif: frame"),
        ({"t278": 0}, "its pages are stored in pieces of 0 x 10"),
        ({"t277": 5}, "its pages have 5 numbers per pixel"),
        ({"t258": list(range(500))}, r"0 \+ 1 \+ 2 \+ 3 \+ 4 \+ 5 \+ 6 \+ 7 \+ … bits per pixel"),
        ({"t257": 8, "t278": 8}, "a.tif: frame"),
        ({"text": '{"shape": [3, 7, 10], "truncated": true}'}, "announces 3 pages and lists only the first"),
    ],
)
def test_what_is_not_read_is_one_line(tmp_path, changed, said):
    path = tiff(tmp_path / "a.tif", numbers("f8", (1, 7, 10)), **changed)
    with pytest.raises(InputFileError, match=said) as caught:
        read(path)
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize("stated", [2**40, 2**63 + 5])
@pytest.mark.parametrize("name", ["start", "count"])
def test_places_and_sizes_beyond_the_file_are_damage(tmp_path, name, stated):
    """Regression: a MemoryError or OverflowError, which names neither file nor page."""
    data = numbers("f8", (1, 7, 10))
    path = tiff(tmp_path / "a.tif", data, big=True)
    tag, right = (273, path.stat().st_size - data.nbytes) if name == "start" else (279, data.nbytes)
    raw, entry = path.read_bytes(), struct.pack("<HHQQ", tag, 16, 1, right)
    assert entry in raw
    path.write_bytes(raw.replace(entry, struct.pack("<HHQQ", tag, 16, 1, stated)))
    with pytest.raises(InputFileError, match="frame 0 cannot be read: its bytes are damaged"):
        read(path)


def test_of_a_strip_no_more_bytes_are_read_than_it_may_have(tmp_path, monkeypatch):
    path = tiff(tmp_path / "a.tif", numbers("f8", (1, 7, 10)))
    raw, entry = path.read_bytes(), struct.pack("<HHII", 279, 4, 1, 560)
    path.write_bytes(raw.replace(entry, struct.pack("<HHII", 279, 4, 1, 2**22)) + bytes(2**22))
    pages, sizes, pread = RawPages(path), [], tiff_pages.os.pread
    monkeypatch.setattr(
        tiff_pages.os, "pread", lambda handle, size, place: [sizes.append(size), pread(handle, size, place)][1]
    )
    assert pages[0].shape == (7, 10)
    assert max(sizes) < 2**17


@pytest.mark.parametrize("tiled", [False, True])
def test_pieces_are_counted_before_they_are_listed(tmp_path, tiled, monkeypatch):
    """Regression: a page of 2^26 pieces, of which a damaged file states one, filled the memory."""
    size = {"t322": 1, "t323": 1} if tiled else {"t278": 1}
    path = tiff(tmp_path / "a.tif", numbers("f8", (1, 7, 10)), tiled=tiled, t256=8192, t257=8192, **size)
    monkeypatch.setattr(tiff_pages._Layout, "places", None)
    with pytest.raises(OSError, match=f"page 0 has 1 pieces where {8192 ** (2 if tiled else 1)} are needed"):
        RawPages(path)[0]


def test_tags_that_are_not_used_or_come_twice_are_not_read(tmp_path):
    """Each may stand for 16 MiB anywhere in the file, and a page may have thousands."""
    path = tiff(tmp_path / "a.tif", numbers("f8", (1, 7, 10)), t400=[1] * 50, t401=5)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<HHII", 401, 4, 1, 5), struct.pack("<HHII", 256, 4, 1, 5)))
    pages = RawPages(path)
    tags, _ = pages._tags(pages._places[0])
    assert 400 not in tags
    assert pages.shape == (1, 7, 10)


@pytest.mark.parametrize("big", [False, True])
def test_a_file_cut_anywhere_is_one_line(tmp_path, big):
    whole = tiff(tmp_path / "whole.tif", numbers("f8", (2, 3, 4)), big=big).read_bytes()
    for size in range(0, len(whole), 7):
        (tmp_path / "a.tif").write_bytes(whole[:size])
        with pytest.raises(InputFileError, match=r"a\.tif"):
            read(tmp_path / "a.tif")


def test_pages_that_go_round_in_a_circle_or_differ(tmp_path, monkeypatch):
    data = numbers("f8", (2, 3, 4))
    whole = tiff(tmp_path / "a.tif", data).read_bytes()
    second = RawPages(tmp_path / "a.tif")._places[1]
    tags = struct.unpack("<H", whole[second : second + 2])[0]
    end = second + 2 + 12 * tags
    (tmp_path / "a.tif").write_bytes(whole[:end] + struct.pack("<I", second) + whole[end + 4 :])
    with pytest.raises(InputFileError, match="its pages go round in a circle"):
        read(tmp_path / "a.tif")
    first = struct.pack("<HHII", 257, 4, 1, 3)
    place = whole.rindex(first)
    (tmp_path / "a.tif").write_bytes(whole[:place] + struct.pack("<HHII", 257, 4, 1, 2) + whole[place + len(first) :])
    with pytest.raises(InputFileError, match="page 1 is 2 x 4 float64, the first is 3 x 4 float64"):
        read(tmp_path / "a.tif")
    monkeypatch.setattr(tiff_pages, "MOST_PAGES", 1)
    with pytest.raises(InputFileError, match="it has too many pages"):
        read(tiff(tmp_path / "a.tif", data))


def test_a_scan_shape_in_the_description(tmp_path):
    path = tiff(tmp_path / "a.tif", numbers("f8", (6, 3, 4)), text='{"shape": [2, 3, 3, 4]}')
    with open_source(path) as source:
        assert source.header.scan.shape == (2, 3)
