"""Gatan DigitalMicrograph: sends the 4D STEM data set in front to ptylive. Not tried on DigitalMicrograph itself.

Paste it into a Python script window of GMS 3.5 or later, whose Python has ptylive installed, and execute it while the
data set is the front image.
"""

from __future__ import annotations

import sys
from typing import Any

import DigitalMicrograph as DM
import numpy as np

import ptylive

TO, CONTROL = "tcp://127.0.0.1:9999", "tcp://127.0.0.1:9998"
SCAN_AXES = (2, 3)
"""Axes of GetNumArray() that are rows and columns of the scan; (0, 1) where the patterns are the last two."""
METADATA: dict[str, Any] = {"convergence_semiangle_mrad": 25.0}
"""What DigitalMicrograph does not say (docs/conventions.md); energy and step here win over what it says."""


def send(image: Any, to: str = TO, control: str | None = None) -> str:
    """Send a 4D image; the uid of the scan. With ``control`` until the server has all of it on its disk.

    Raises ValueError where it has not four axes.
    """
    data = image.GetNumArray()
    if data.ndim != 4:
        raise ValueError(f"{image.GetName()} has {data.ndim} axes: bring a 4D STEM data set to the front")
    frames = np.moveaxis(data, SCAN_AXES, (0, 1))  # rows, columns, Qy, Qx
    metadata = {**known(image), **METADATA}
    with ptylive.Sender(to, control=control) as sender:
        uid = sender.open(frames.shape[:2], frames.shape[2:], frames.dtype, series=image.GetName()[:200], **metadata)
        for number, row in enumerate(frames):
            sender.send_row(number, row)
    return uid


def known(image: Any) -> dict[str, Any]:
    """Energy and step, where the image says them."""
    found: dict[str, Any] = {}
    told, volts = image.GetTagGroup().GetTagAsFloat("Microscope Info:Voltage")
    if told and volts > 0:
        found["energy_eV"] = float(volts)
    # DigitalMicrograph counts axes the other way round: 0 is the last one of the array
    _, step, unit = image.GetDimensionCalibration(3 - SCAN_AXES[1], 0)
    unit = unit.decode("latin-1") if isinstance(unit, bytes) else str(unit)
    if unit in ("nm", "A", "Å") and step > 0:
        found["scan_step_A"] = float(step) * (10.0 if unit == "nm" else 1.0)
    return found


if __name__ == "__main__":
    sys.stdout.write(f"sent as {send(DM.GetFrontImage(), TO, CONTROL)}\n")
