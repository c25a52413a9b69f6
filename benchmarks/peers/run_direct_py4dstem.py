"""py4DSTEM's direct methods on a prepared scan: INPUT.npz OUTPUT.npz. Runs in py4DSTEM's environment.

DPC, SSB, OBF and WDD use the true defocus, astigmatism, rotation and beam position; parallax, which finds the defocus
on its own, is run if there is one. A method that fails does not affect the others.
"""

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import matplotlib as mpl
import numpy as np
import py4DSTEM

from benchmarks.zoo.draws import wavelength_A

DPC = ({"max_iter": 8}, {"max_iter": 64}, {"max_iter": 8, "q_highpass": 0.05}, {"max_iter": 8, "q_highpass": 0.15})
WIENER = (0.01, 0.03, 0.1, 0.3)
"""Wiener parameters of WDD."""
THRESHOLDS = (0.6, 0.8)
"""Fraction of the brightest intensity above which parallax counts a pixel as bright field."""
PADDING_PX = 16

Maps = Iterator[tuple[str, Any]]


def main() -> None:
    mpl.use("Agg")
    with np.load(sys.argv[1]) as given:
        patterns, calibration = given["patterns"], json.loads(str(given["calibration"]))
    methods: dict[str, Callable[[Any, dict[str, Any]], Maps]] = {
        "DPC": dpc,
        "SSB": lambda patterns, calibration: direct("SSB", patterns, calibration),
        "OBF": lambda patterns, calibration: direct("OBF", patterns, calibration),
        "WDD": lambda patterns, calibration: direct("WDD", patterns, calibration),
        "Parallax": parallax,
    }
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name, method in methods.items():
        try:
            for setting, picture in method(patterns, calibration):
                found[f"{name}, {setting}"] = np.asarray(picture, np.float32)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"[:200]
    np.savez(sys.argv[2], version=version("py4DSTEM"), failed=json.dumps(failed), **found)


def cube(patterns: Any, calibration: dict[str, Any]) -> Any:
    """A copy of the patterns with their scales, since the methods change them."""
    datacube = py4DSTEM.DataCube(patterns.copy())
    datacube.calibration.set_R_pixel_size(calibration["step_A"])
    datacube.calibration.set_R_pixel_units("A")
    datacube.calibration.set_Q_pixel_size(calibration["pixel_mrad"])
    datacube.calibration.set_Q_pixel_units("mrad")
    return datacube


def known(patterns: Any, calibration: dict[str, Any]) -> dict[str, Any]:
    """Geometry given to all methods but parallax; rotation has the opposite sign."""
    return {
        "plot_center_of_mass": False,
        "plot_rotation": False,
        "force_com_rotation": -calibration["rotation_deg"],
        "force_com_transpose": False,
        "force_com_shifts": tuple(np.full(patterns.shape[:2], place, np.float32) for place in calibration["centre_px"]),
    }


def dpc(patterns: Any, calibration: dict[str, Any]) -> Maps:
    """Iteratively integrated DPC, with and without a high pass."""
    for setting in DPC:
        run = py4DSTEM.process.phase.DPC(
            datacube=cube(patterns, calibration), energy=calibration["energy_eV"], verbose=False
        )
        run.preprocess(**known(patterns, calibration))
        run.reconstruct(progress_bar=False, **setting)
        yield str(setting), run.object_phase


def direct(name: str, patterns: Any, calibration: dict[str, Any]) -> Maps:
    """SSB, OBF or WDD."""
    aberrations = {
        "C10": -calibration["defocus_A"],
        "C12": calibration["astigmatism_A"],
        "phi12": float(np.deg2rad(calibration["astigmatism_deg"])),
    }
    run = getattr(py4DSTEM.process.phase, name)(
        energy=calibration["energy_eV"],
        datacube=cube(patterns, calibration),
        semiangle_cutoff=calibration["semiangle_mrad"],
        verbose=False,
        polar_parameters=dict(aberrations),
    )
    run.preprocess(
        plot_overlap_trotters=False, crop_around_bf_disk=True, bf_disk_padding_px=2, **known(patterns, calibration)
    )
    for epsilon in WIENER if name == "WDD" else (None,):
        setting = {} if epsilon is None else {"relative_wiener_epsilon": epsilon}
        run.reconstruct(progress_bar=False, num_jobs=1, polar_parameters=dict(aberrations), **setting)
        yield str(setting or "default"), np.angle(np.asarray(run.object))


def parallax(patterns: Any, calibration: dict[str, Any]) -> Maps:
    """Aligned bright field, and its phase by the contrast transfer function that parallax fits."""
    depth_of_field = wavelength_A(calibration["energy_eV"]) / (1e-3 * calibration["semiangle_mrad"]) ** 2
    if abs(calibration["defocus_A"]) < depth_of_field:
        return  # nothing to align
    for threshold in THRESHOLDS:
        run = py4DSTEM.process.phase.Parallax(
            datacube=cube(patterns, calibration),
            energy=calibration["energy_eV"],
            verbose=False,
            object_padding_px=(PADDING_PX, PADDING_PX),
        )
        run.preprocess(
            plot_average_bf=False,
            edge_blend=2,
            threshold_intensity=threshold,
            force_rotation_angle_deg=-calibration["rotation_deg"],
            force_transpose=False,
        )
        run.reconstruct(
            reset=True,
            min_alignment_bin=4,
            num_iter_at_min_bin=3,
            plot_aligned_bf=False,
            plot_convergence=False,
            progress_bar=False,
        )
        yield f"aligned, {threshold}", run._crop_padded_object(run._recon_BF)  # noqa: SLF001
        run.aberration_fit(plot_CTF_comparison=False, plot_BF_shifts_comparison=False)
        run.aberration_correct(plot_corrected_phase=False, upsampled=False)
        yield f"corrected, {threshold}", run._crop_padded_object(run._recon_phase_corrected, upsampled=False)  # noqa: SLF001


if __name__ == "__main__":
    main()
