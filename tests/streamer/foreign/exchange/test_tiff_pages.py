"""Pages of TIFF files read by their tags: every type and byte order, strips and tiles, predictors, damage."""

import struct
import zlib

import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.exchange import tiff_pages
from ptylive.streamer.foreign.exchange.tiff_pages import RawPages
from ptylive.streamer.source import open_source

RNG = np.random.default_rng(27)
FORMATS = {"u": 1, "i": 2, "f": 3}


def numbers(dtype, shape=(3, 7, 10)):
    """Numbers that use all bytes of their type."""
    if np.dtype(dtype).kind == "f":
        return RNG.normal(0, 3, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def differences(block, predictor):
    """A strip or tile (rows, columns) as the predictor stores it."""
    rows, columns = block.shape
    if predictor == 2:
        whole = block.view(f"{block.dtype.str[0]}u{block.itemsize}").astype(f"u{block.itemsize}")
        return np.diff(whole, axis=1, prepend=whole.dtype.type(0)).astype(f"{block.dtype.str[0]}u{block.itemsize}")
    if predictor == 3:
        raw = block.astype(block.dtype.newbyteorder(">")).view("u1").reshape(rows, columns, block.itemsize)
        planes = raw.swapaxes(1, 2).reshape(rows, -1)
        return np.diff(planes, axis=1, prepend=np.uint8(0))
    return block


def blocks_of(page, size, tiled):
    """Strips or tiles of a page; tiles are filled up with zeros."""
    for row in range(0, page.shape[0], size[0]):
        for column in range(0, page.shape[1], size[1]):
            part = page[row : row + size[0], column : column + size[1]]
            lacking = [(0, full - have) for full, have in zip(size, part.shape, strict=True)]
            yield np.pad(part, lacking) if tiled else part


def tiff(path, data, order="<", *, big=False, size=None, tiled=False, compression=1, predictor=1, text="", **changed):
    """Write (N, rows, columns), a directory for each. ``size``: of strips or tiles. ``changed``: t<tag>=value."""
    _, rows, columns = data.shape
    size = size or (rows, columns)
    number = "Q" if big else "I"
    start = struct.pack(f"{order}2sHHHQ" if big else f"{order}2sHI", b"MM" if order == ">" else b"II",
                        *((43, 8, 0, 16) if big else (42, 8)))  # fmt: skip
    raw = bytearray(start)
    for n, page in enumerate(data):
        parts = []
        for block in blocks_of(np.ascontiguousarray(page.astype(page.dtype.newbyteorder(order))), size, tiled):
            stored = differences(np.ascontiguousarray(block), predictor).tobytes()
            parts.append(stored if compression == 1 else zlib.compress(stored))
        tags = {256: columns, 257: rows, 258: 8 * data.itemsize, 259: compression, 262: 1, 277: 1, 317: predictor,
                339: FORMATS[data.dtype.kind]}  # fmt: skip
        tags |= {322: size[1], 323: size[0]} if tiled else {278: size[0]}
        tags |= {int(name[1:]): value for name, value in changed.items()}
        names = (324, 325) if tiled else (273, 279)
        tags |= {names[0]: None, names[1]: [len(part) for part in parts]} | ({270: text} if text else {})
        entry = struct.calcsize(f"<HH{number}{number}")
        data_at = len(raw) + (8 if big else 2) + entry * len(tags) + struct.calcsize(f"<{number}")
        tags[names[0]] = (data_at + np.cumsum([0, *map(len, parts)])[:-1]).tolist()
        far = bytearray(b"".join(parts))
        raw += struct.pack(f"{order}{'Q' if big else 'H'}", len(tags))
        for tag, value in sorted(tags.items()):
            values = value if isinstance(value, list) else [value]
            kind, content = (16 if big else 4), b""
            if isinstance(value, str):
                kind, content, values = 2, value.encode() + b"\0", value + "\0"
            elif isinstance(value, list):
                content = struct.pack(f"{order}{len(values)}{number}", *values)
            if content and len(content) > struct.calcsize(number):
                inline = struct.pack(f"{order}{number}", data_at + len(far))
                far += content
            else:
                inline = (content or struct.pack(f"{order}{number}", value)).ljust(struct.calcsize(number), b"\0")
            raw += struct.pack(f"{order}HH{number}", tag, kind, len(values)) + inline
        last = n == len(data) - 1
        raw += struct.pack(f"{order}{number}", 0 if last else data_at + len(far)) + far
    path.write_bytes(raw)
    return path


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
        ({"t257": 8, "t278": 8}, "a.tif: frame"),
        ({"text": '{"shape": [3, 7, 10], "truncated": true}'}, "announces 3 pages and lists only the first"),
    ],
)
def test_what_is_not_read_is_one_line(tmp_path, changed, said):
    path = tiff(tmp_path / "a.tif", numbers("f8", (1, 7, 10)), **changed)
    with pytest.raises(InputFileError, match=said) as caught:
        read(path)
    assert "\n" not in caught.value.line()


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
