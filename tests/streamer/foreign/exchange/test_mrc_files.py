"""MRC files: stacks of every type and byte order, volumes as rows, headers that are not of patterns."""

import struct

import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

RNG = np.random.default_rng(11)
MODES = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12, "u1": 0}


def mrc(path, data, order="<", extended=b"", **fields):
    """Write (N, rows, columns) or, as a stack of volumes, (rows of the scan, columns, Qy, Qx). ``fields``: b<byte>."""
    sections = int(np.prod(data.shape[:-2]))
    head = bytearray(1024)
    struct.pack_into(f"{order}4i", head, 0, data.shape[-1], data.shape[-2], sections, MODES[data.dtype.str[1:]])
    struct.pack_into(f"{order}3i", head, 28, data.shape[-1], data.shape[-2], data.shape[-3])
    struct.pack_into(f"{order}3i", head, 64, 1, 2, 3)
    struct.pack_into(f"{order}2i", head, 88, 401 if data.ndim == 4 else 0, len(extended))
    head[208:214] = b"MAP " + (b"\x11\x11" if order == ">" else b"DD")
    for name, value in fields.items():
        struct.pack_into(f"{order}i", head, int(name[1:]), value)
    path.write_bytes(bytes(head) + extended + data.astype(data.dtype.newbyteorder(order)).tobytes())
    return path


def counts(dtype, shape=(6, 4, 5)):
    return RNG.integers(0, 100, shape).astype(dtype)


def read(path):
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count)), source.header, source.notes


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "f2", "f4"])
def test_a_stack_of_patterns(tmp_path, dtype, order):
    data = counts(dtype)
    frames, header, _ = read(mrc(tmp_path / "a.mrc", data, order, extended=b"SERI" * 20))
    np.testing.assert_array_equal(frames, data)
    assert (header.scan.shape, header.detector_shape, header.detector.pixel_mrad) == (None, (4, 5), None)


def test_volumes_are_the_rows_of_a_scan(tmp_path):
    data = counts("i2", (2, 3, 4, 5))
    frames, header, notes = read(mrc(tmp_path / "a.mrcs", data))
    np.testing.assert_array_equal(frames, data.reshape(6, 4, 5))
    assert header.scan.shape == (2, 3)
    assert "its stack of 2 volumes of 3 patterns is read as the rows of a scan: check it" in notes


def test_bytes_of_imod_have_a_sign_only_if_it_says_so(tmp_path):
    data = RNG.integers(0, 256, (6, 4, 5), "u1")
    frames, _, _ = read(mrc(tmp_path / "a.mrc", data, b152=1146047817, b156=0))
    np.testing.assert_array_equal(frames, data)
    frames, _, _ = read(mrc(tmp_path / "b.mrc", data, b152=1146047817, b156=1))
    np.testing.assert_array_equal(frames, data.view("i1"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"b12": 4}, r"a.mrc holds complex numbers \(mode 4\)"),
        ({"b12": 101}, r"holds numbers of 4 bits \(mode 101\)"),
        ({"b12": 77}, "its header states 5 x 4 x 6 of mode 77"),
        ({"b0": 0}, "its header states 0 x 4 x 6 of mode 1"),
        ({"b92": -4}, "behind -4 more bytes"),
        ({"b92": 8}, "a.mrc is cut short: it has 1264 bytes, and its header announces 1272"),
        ({"b8": 2**31 - 1}, "a.mrc is cut short"),
        ({"b64": 3, "b72": 1}, r"its axes are stored in the order \(3, 2, 1\), not \(1, 2, 3\)"),
        ({"b208": 0}, "a.mrc is not an MRC file: its header lacks the mark MAP"),
        ({"b88": 401, "b36": 4}, None),
        ({"b88": 631, "b36": 3}, None),
    ],
)
def test_headers_that_are_not_of_patterns(tmp_path, fields, said):
    path = mrc(tmp_path / "a.mrc", counts("i2"), **fields)
    if said is None:  # six sections are no whole number of volumes of four; there are 230 space groups
        assert read(path)[1].scan.shape is None
        return
    with pytest.raises(InputFileError, match=said) as caught:
        read(path)
    assert "\n" not in caught.value.line()


def test_volumes_of_any_space_group(tmp_path):
    assert read(mrc(tmp_path / "a.mrc", counts("i2"), b88=630, b36=3))[1].scan.shape == (2, 3)


def test_a_cut_header_is_named_as_such(tmp_path):
    """Regression: of a header cut behind its mark, the mark was said to be missing."""
    path = mrc(tmp_path / "a.mrc", counts("i2"))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputFileError, match=r"a\.mrc is cut short: it has 500 bytes, fewer than its header"):
        read(path)
