"""Writes TIFF files by their tags: any type and byte order, strips or tiles, with predictors, and with wrong tags."""

import struct
import zlib

import numpy as np

FORMATS = {"u": 1, "i": 2, "f": 3}


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
