"""py4DSTEM's ptychography, its iterations timed: INPUT.npz FOLDER ITERATIONS. Runs in py4DSTEM's environment.

As the zoo runs it: object of a potential, step 0.5, batches of 32, single slice or multislice.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import py4DSTEM

from benchmarks.peers.clock import Clock
from benchmarks.zoo.run_py4dstem import BATCH, STEP


def main() -> None:
    with np.load(sys.argv[1]) as given:
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
        "polar_parameters": {"C10": -told["defocus_A"]},
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
    first, pixel = np.asarray(run._positions_px[0]), float(run.sampling[0])  # noqa: SLF001
    clock = Clock(Path(sys.argv[2]))
    clock.start()
    for turn in range(int(sys.argv[3])):
        run.reconstruct(
            num_iter=1,
            reset=turn == 0,
            max_batch_size=BATCH,
            step_size=STEP,
            seed_random=turn,
            progress_bar=False,
            store_iterations=False,
        )
        clock.lap(lambda: np.reshape(run.object, (-1, *np.shape(run.object)[-2:])))
    clock.finish(version("py4DSTEM"), pixel, first)


if __name__ == "__main__":
    main()
