"""Small files in the layouts of other programs for which there is no writer: DigitalMicrograph's and Velox's."""

import json
import struct

import h5py
import numpy as np

ELEMENTS = {"<u2": (4, 10), "<f4": (6, 2), "<i4": (3, 7)}
"""Code of an array's elements in the tags, and code of an image's type."""


def dm_bytes(tags, version=4):
    """A DigitalMicrograph file from nested dictionaries: numbers, text, arrays; names "" for lists of groups."""
    number = ">q" if version == 4 else ">l"
    size = len(struct.pack(number, 0))

    def coded(name, value):
        head = name.encode()
        kind = 20 if isinstance(value, list | dict) else 21
        inside = group(value) if kind == 20 else b"%%%%" + data(value)
        length = struct.pack(">q", len(inside)) if version == 4 else b""
        return struct.pack(">bh", kind, len(head)) + head + length + inside

    def group(value):
        items = [("", one) for one in value] if isinstance(value, list) else list(value.items())
        return struct.pack(">bb", 0, 0) + struct.pack(number, len(items)) + b"".join(coded(*item) for item in items)

    def data(value):
        if isinstance(value, np.ndarray):
            code, _ = ELEMENTS[value.dtype.str]
            return numbers(3, 20, code, value.size) + value.tobytes()
        if isinstance(value, str):
            return numbers(3, 20, 4, len(value)) + value.encode("utf-16-le")
        if isinstance(value, bool):
            return numbers(1, 8) + struct.pack("<B", value)
        if isinstance(value, int):
            return numbers(1, 3) + struct.pack("<l", value)
        return numbers(1, 7) + struct.pack("<d", value)

    def numbers(*values):
        return b"".join(struct.pack(number, value) for value in values)

    body = group(tags)
    return struct.pack(">l", version) + struct.pack(number, len(body) + size) + struct.pack(">l", 1) + body


def dm_image(data, units, scales, tags=None):
    """Tags of one image: axes of ``data`` slowest first, DigitalMicrograph's fastest first."""
    axes = [{"Origin": 0.0, "Scale": float(scale), "Units": unit} for scale, unit in zip(scales, units, strict=True)]
    return {
        "ImageData": {
            "Calibrations": {"Dimension": axes[::-1]},
            "Data": data,
            "DataType": ELEMENTS[data.dtype.str][1],
            "Dimensions": [int(n) for n in data.shape[::-1]],
        },
        "ImageTags": tags or {},
        "Name": "scan",
    }


def velox(path, images):
    """A Velox file: name -> (data (frames, y, x), metadata)."""
    with h5py.File(path, "w") as file:
        file["Version"] = np.array([json.dumps({"format": "Velox", "version": "1.0"}).encode()], dtype=object)
        for name, (data, metadata) in images.items():
            group = file.create_group(f"Data/Image/{name}")
            group.create_dataset("Data", data=np.moveaxis(data, 0, 2), chunks=(*data.shape[1:], 1))
            text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
            group["Metadata"] = np.repeat(np.append(text, [0] * 8).astype(np.uint8)[:, None], len(data), axis=1)


def velox_metadata(unit="1/m", size=2e8):
    """Velox's metadata for a camera series."""
    return {
        "BinaryResult": {
            "PixelSize": {"width": str(size), "height": str(size)},
            "PixelUnitX": unit,
            "PixelUnitY": unit,
            "Offset": {"x": "0", "y": "0"},
            "DetectorIndex": "0",
            "Detector": "BM-Ceta",
        },
        "Scan": {},
        "Acquisition": {},
        "CustomProperties": {},
        "Optics": {"AccelerationVoltage": "300000", "BeamConvergence": "0.02"},
        "Detectors": {"Detector-0": {"DetectorName": "BM-Ceta", "ExposureTime": "0.001"}},
    }
