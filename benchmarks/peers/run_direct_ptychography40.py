"""ptychography40's SSB on a prepared scan: INPUT.npz OUTPUT.npz. Runs in its environment.

It corrects no aberrations. Both signs of the rotation in its transformation are tried.
"""

import json
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
from libertem.api import Context
from libertem.executor.inline import InlineJobExecutor
from ptychography40.reconstruction.common import wavelength
from ptychography40.reconstruction.ssb import SSB_UDF


def main() -> None:
    with np.load(sys.argv[1]) as given:
        patterns, calibration = given["patterns"], json.loads(str(given["calibration"]))
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for sign in (1, -1) if calibration["rotation_deg"] else (1,):
        try:
            found[f"ptychography40 SSB, rotation {sign:+d}"] = ssb(patterns, calibration, sign)
        except Exception as error:
            failed["ptychography40 SSB"] = f"{type(error).__name__}: {error}"[:200]
    np.savez(sys.argv[2], version=version("ptychography40"), failed=json.dumps(failed), **found)


def ssb(patterns: Any, calibration: dict[str, Any], sign: int) -> Any:
    """Phase (rows, columns)."""
    context = Context(executor=InlineJobExecutor())
    turn = np.deg2rad(sign * calibration["rotation_deg"])
    transformation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    udf = SSB_UDF(
        lamb=wavelength(calibration["energy_eV"] / 1e3),
        dpix=calibration["step_A"] * 1e-10,
        semiconv=calibration["semiangle_mrad"] * 1e-3,
        semiconv_pix=calibration["semiangle_mrad"] / calibration["pixel_mrad"],
        dtype=np.float32,
        cy=calibration["centre_px"][0],
        cx=calibration["centre_px"][1],
        transformation=transformation,
        method="subpix",
        cutoff=1,
    )
    data = context.load("memory", data=patterns, sig_dims=2)
    phase = context.run_udf(dataset=data, udf=udf)["phase"].data
    return np.asarray(phase, np.float32).reshape(patterns.shape[:2])


if __name__ == "__main__":
    main()
