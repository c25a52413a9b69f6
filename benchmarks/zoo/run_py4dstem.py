"""py4DSTEM on a prepared scan of the zoo: SCRIPT INPUT.npz OUTPUT.npz ITERATIONS. Runs in py4DSTEM's environment.

As in its tutorials: object of a potential, step 0.5, batches; single slice, or multislice where slices are told. Given
are defocus, astigmatism, rotation of the scan; it finds the beam's shift by itself.
"""

import json
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import py4DSTEM

BATCH = 32
STEP = 0.5


def main() -> None:
    run = prepared(sys.argv[1])
    first, pixel = np.asarray(run._positions_px[0]), float(run.sampling[0])  # noqa: SLF001
    run.reconstruct(
        num_iter=int(sys.argv[3]), reset=True, max_batch_size=BATCH, step_size=STEP, seed_random=0, progress_bar=False
    )
    found = np.asarray(run.object)
    found = found if found.ndim == 3 else found[None]
    found = np.angle(found) if np.iscomplexobj(found) else found
    np.savez(sys.argv[2], phase=found, pixel_A=pixel, first_px=first, version=version("py4DSTEM"))


def prepared(source: str) -> Any:
    """py4DSTEM's reconstruction of a prepared scan, its first iteration still to come."""
    with np.load(source) as given:
        patterns, told = given["patterns"], json.loads(str(given["calibration"]))
    cube = py4DSTEM.DataCube(patterns)
    cube.calibration.set_R_pixel_size(told["step_A"])
    cube.calibration.set_R_pixel_units("A")
    cube.calibration.set_Q_pixel_size(told["pixel_invA"])
    cube.calibration.set_Q_pixel_units("A^-1")
    options = {
        "datacube": cube,
        "energy": told["energy_eV"],
        "semiangle_cutoff": told["semiangle_mrad"],
        "polar_parameters": {
            "C10": -told["defocus_A"],
            "C12": told["astigmatism_A"],
            "phi12": float(np.deg2rad(told["astigmatism_deg"])),
        },
        "object_type": "potential",
        "verbose": False,
        "device": "cpu",
    }
    phase = py4DSTEM.process.phase
    if told["slices"] > 1:
        run = phase.MultislicePtychography(num_slices=told["slices"], slice_thicknesses=told["slice_A"], **options)
    else:
        run = phase.SingleslicePtychography(**options)
    run.preprocess(
        plot_center_of_mass=False,
        plot_rotation=False,
        plot_probe_overlaps=False,
        force_com_rotation=-told["rotation_deg"],  # its angle counts the other way
        force_com_transpose=False,
    )
    return run


if __name__ == "__main__":
    main()
