"""Kinds of files that are recognised by their first bytes, for messages about files that are of another kind."""

from __future__ import annotations

from pathlib import Path

_FRAMES = "save its frames as a TIFF or MRC stack, or with numpy.save"
_UNFINISHED = "is the program that writes it finished? otherwise copy it again"
_PICTURE = "give the file that holds the scan"
_MATLAB = "save it in MATLAB with save(…, '-v7.3'), or its patterns with numpy.save"
_KINDS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x1f\x8b", "a file compressed with gzip", "unpack it with gunzip"),
    (0, b"BZh", "a file compressed with bzip2", "unpack it with bunzip2"),
    (0, b"\xfd7zXZ\x00", "a file compressed with xz", "unpack it with unxz"),
    (0, b"\x28\xb5\x2f\xfd", "a file compressed with zstd", "unpack it with unzstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (0, b"PK\x03\x04", "a zip archive", "unpack it; if numpy.savez wrote it, name it .npz"),
    (257, b"ustar", "a tar archive", "unpack it with tar -xf"),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file from before version 7.3", _MATLAB),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "name it .h5"),
    (0, b"\x93NUMPY", "an array of numpy", "name it .npy"),
    (0, b"\xed\xfe\x00\x00", "a StreamPix sequence (.seq)", _FRAMES),
    (0, b"II\x97\x01", "a series of TIA (.ser)", _FRAMES),
    (0, b"II*\x00", "a TIFF", "name it .tif"),
    (0, b"MM\x00*", "a TIFF", "name it .tif"),
    (0, b"II+\x00", "a TIFF", "name it .tif"),
    (0, b"\x00\x00\x00\x03", "probably a file of DigitalMicrograph", "name it .dm3"),
    (0, b"\x00\x00\x00\x04", "probably a file of DigitalMicrograph", "name it .dm4"),
    (0, b"MQ1,", "a file of a Merlin detector", "name it .mib"),
    (208, b"MAP ", "an MRC file", "name it .mrc"),
    (0, b"\x89PNG\r\n", "a picture (PNG)", _PICTURE),
    (0, b"\xff\xd8\xff", "a picture (JPEG)", _PICTURE),
    (0, b"%PDF", "a PDF document", _PICTURE),
    (0, b"CDF\x01", "a netCDF file from before version 4", "convert it: nccopy -k netCDF-4"),
    (0, b"CDF\x02", "a netCDF file from before version 4", "convert it: nccopy -k netCDF-4"),
)
"""Position and bytes at the beginning, what such a file is, and the remedy."""
_MOST = max(place + len(mark) for place, mark, *_ in _KINDS)


def kind_of(path: Path, wanted: str = "") -> tuple[str, str] | None:
    """Return what the first bytes of a file show it to be, with the remedy; None where they show nothing, or the
    ``wanted`` kind, which is given by its suffix.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_MOST)
    except OSError:
        return None
    if not head:
        return "empty", _UNFINISHED
    for place, mark, words, remedy in _KINDS:
        if head[place : place + len(mark)] == mark and remedy != f"name it {wanted}":
            return words, remedy
    return None
