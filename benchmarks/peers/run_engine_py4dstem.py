"""py4DSTEM's gradient descent on a given problem: INPUT.npz SETTINGS.json OUT.json. Runs in py4DSTEM's environment.

It runs ``reconstruct`` with a potential as object and no constraints; the results of its preprocessing are replaced by
the given arrays.
"""

import json
import sys
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import py4DSTEM


def main() -> None:
    settings = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    with np.load(sys.argv[1]) as file:
        given = dict(file)
    curves = [curve(given, settings, seed) for seed in settings["seeds"]]
    Path(sys.argv[3]).write_text(json.dumps({"version": f"py4DSTEM {version('py4DSTEM')}", "curves": curves}))


def curve(given: dict[str, Any], settings: dict[str, Any], seed: int) -> list[float]:
    """Sum of (sqrt(I) - sqrt(D))^2 over sum of D in each epoch, evaluated while the parameters change."""
    run, several = prepared(given), int(given["object_shape"][0]) > 1
    none = ("fix_probe_com", "object_positivity", "fix_potential_baseline", "gaussian_filter", "butterworth_filter")
    options = {"kz_regularization_filter": False} if several else {}
    with ExitStack() as stack:
        if not settings["own_batches"]:
            hand_over_batches(stack, given, seed, "multislice" if several else "singleslice")
        run.reconstruct(
            num_iter=settings["epochs"],
            reconstruction_method="gradient-descent",
            max_batch_size=settings["batch_size"],
            step_size=settings["step"],
            seed_random=seed,
            progress_bar=False,
            **dict.fromkeys(none, False),
            **options,
        )
    return [float(error) for error in run.error_iterations]


def hand_over_batches(stack: ExitStack, given: dict[str, Any], seed: int, kind: str) -> None:
    """Make it use our batches instead of drawing its own."""
    orders, ends = iter(given[f"order_{seed}"]), np.cumsum(given[f"sizes_{seed}"])

    def shuffle(indices: np.ndarray) -> None:
        indices[:] = next(orders)

    def batches(*_: Any, **__: Any) -> list[tuple[int, int]]:
        return list(zip([0, *ends[:-1]], ends, strict=True))

    module = f"py4DSTEM.process.phase.{kind}_ptychography"
    stack.enter_context(patch("numpy.random.shuffle", shuffle))
    stack.enter_context(patch(f"{module}.generate_batches", batches))


def prepared(given: dict[str, Any]) -> Any:
    """Its reconstruction, with our patterns, windows, probe and free space."""
    patterns, size = given["patterns"], given["patterns"].shape[-1]
    slices, rows, columns = (int(each) for each in given["object_shape"])
    cube = py4DSTEM.DataCube(np.fft.fftshift(patterns, (1, 2))[:4].reshape(2, 2, size, size))
    for set_size in (cube.calibration.set_R_pixel_size, cube.calibration.set_Q_pixel_size):
        set_size(0.05)
    cube.calibration.set_R_pixel_units("A")
    cube.calibration.set_Q_pixel_units("A^-1")
    options = {"datacube": cube, "energy": 80e3, "semiangle_cutoff": 20, "object_type": "potential"}
    options |= {"verbose": False, "device": "cpu"}
    phase = py4DSTEM.process.phase
    if slices > 1:
        run = phase.MultislicePtychography(num_slices=slices, slice_thicknesses=1.0, **options)
    else:
        run = phase.SingleslicePtychography(**options)
    run.preprocess(plot_center_of_mass=False, plot_rotation=False, plot_probe_overlaps=False, force_com_rotation=0,
                   force_com_transpose=False)  # fmt: skip
    run._amplitudes = np.sqrt(patterns)  # noqa: SLF001
    run._amplitudes_shape = run._region_of_interest_shape = np.array([size, size])  # noqa: SLF001
    run._mean_diffraction_intensity = float(patterns.sum(dtype=np.float64)) / len(patterns)  # noqa: SLF001
    run._num_diffraction_patterns = len(patterns)  # noqa: SLF001
    places = given["corners"] + size // 2 + given["shifts_px"]
    run._positions_px = places.astype(np.float32)  # noqa: SLF001
    run._positions_px_initial = run._positions_px.copy()  # noqa: SLF001
    shape = (rows, columns) if slices == 1 else (slices, rows, columns)
    run._object, run._object_shape = given["phase"].reshape(shape).astype(np.float32), (rows, columns)  # noqa: SLF001
    run._probe = (np.fft.ifftshift(given["probe"][0]) / size).astype(np.complex64)  # noqa: SLF001  (its fft grows by P)
    if slices > 1:
        run._propagator_arrays = given["propagators"].astype(np.complex64)  # noqa: SLF001
    return run


if __name__ == "__main__":
    main()
