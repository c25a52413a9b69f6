"""PtyRAD on a prepared scan of the zoo: SCRIPT INPUT.npz OUTPUT.npz ITERATIONS. Runs in PtyRAD's environment.

Settings of its template `standard.yaml`: Adam, batches of 32, object 5e-4, probe 1e-4, positions 5e-4, six probe modes,
amplitude loss, amplitude of the object within 4 % of 1, blur along the beam where there are slices.
"""

import json
import logging
import sys
import tempfile
import types
from importlib.machinery import SourceFileLoader
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

MODES = 6
BATCH = 32


def main() -> None:
    ready()
    from ptyrad.params import PtyRADParams
    from ptyrad.solver import PtyRADSolver

    asked, pixel, first = prepared(sys.argv[1], int(sys.argv[3]))
    solver = PtyRADSolver(PtyRADParams(**asked).model_dump(), device="cpu", seed=0, acc=None)
    solver.reconstruct()
    phase = solver.reconstruct_results.opt_objp.detach().numpy()[0]
    np.savez(sys.argv[2], phase=phase, pixel_A=pixel, first_px=first, version=version("ptyrad"))


def ready() -> None:
    """PtyRAD made importable and quiet, on one thread; before its first import."""
    stand_in_for_torchvision()
    readable_by_python_3_11()
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)


def prepared(source: str, iterations: int) -> tuple[dict[str, Any], float, np.ndarray]:
    """Parameters for a prepared scan, the object's pixel (Å), and where in it the first position lies (px)."""
    with np.load(source) as given:
        patterns, positions, told = given["patterns"], given["positions_A"], json.loads(str(given["calibration"]))
    pixel = 1 / (patterns.shape[-1] * told["pixel_invA"])
    corners = corners_px(positions / pixel, patterns.shape[-1])
    return parameters(patterns, corners, told, iterations), pixel, corners[0] + patterns.shape[-1] // 2


def corners_px(positions: np.ndarray, window: int) -> np.ndarray:
    """Upper left corner of each window in the object, which is a fifth larger than what the scan covers."""
    centred = positions - positions.mean(0)
    extent = (1.2 * np.ceil(np.ptp(centred, axis=0) + window)).astype(int)
    return centred + extent // 2 - window // 2


def parameters(patterns: np.ndarray, corners: np.ndarray, told: dict[str, Any], iterations: int) -> dict[str, Any]:
    """The standard template, filled in."""
    rows, columns, side, _ = patterns.shape
    turned = np.deg2rad(2 * told["astigmatism_deg"])  # from the rows; here angles count from the columns
    aberrations = {
        "C10": -told["defocus_A"],
        "C12a": -told["astigmatism_A"] * float(np.cos(turned)),
        "C12b": told["astigmatism_A"] * float(np.sin(turned)),
    }
    always = {"start_iter": 1, "step": 1}
    return {
        "init_params": {
            "probe_kv": told["energy_eV"] / 1e3,
            "probe_conv_angle": told["semiangle_mrad"],
            "probe_aberrations": aberrations,
            "meas_Npix": side,
            "pos_N_scan_slow": rows,
            "pos_N_scan_fast": columns,
            "pos_N_scans": rows * columns,
            "pos_scan_step_size": told["step_A"],
            "meas_calibration": {"mode": "kMax", "value": told["pixel_invA"] * side / 2},
            "probe_pmode_max": MODES,
            "obj_Nlayer": told["slices"],
            "obj_slice_thickness": told["slice_A"],
            "meas_source": "custom",
            "meas_params": patterns.reshape(-1, side, side),
            "pos_source": "custom",
            "pos_params": corners,
        },
        "model_params": {
            "update_params": {
                "obja": {"start_iter": 1, "lr": 5e-4},
                "objp": {"start_iter": 1, "lr": 5e-4},
                "probe": {"start_iter": 1, "lr": 1e-4},
                "probe_pos_shifts": {"start_iter": 1, "lr": 5e-4},
            }
        },
        "loss_params": {"loss_single": {"state": True, "weight": 1.0, "dp_pow": 0.5}},
        "constraint_params": {
            "ortho_pmode": always,
            "fix_probe_int": always,
            "obja_thresh": {**always, "relax": 0, "thresh": [0.96, 1.04]},
            "obj_zblur": {**always, "obj_type": "both", "kernel_size": 5, "std": 1}
            if told["slices"] > 1
            else {"start_iter": None},
        },
        "recon_params": {
            "NITER": iterations,
            "BATCH_SIZE": {"size": BATCH, "grad_accumulation": 1},
            "SAVE_ITERS": None,
            "output_dir": tempfile.mkdtemp(),
            "compiler_configs": {"enable": False},
        },
    }


def readable_by_python_3_11() -> None:
    """One line of PtyRAD 1.0.0 has quotes within the same quotes of an f-string, which Python takes from 3.12 on."""
    read = SourceFileLoader.get_data

    def mended(loader: SourceFileLoader, path: str) -> bytes:
        source = read(loader, path)
        if path.endswith("basic.py") and "ptyrad" in path:
            source = source.replace(b"lr_iters['niter'][-1]", b'lr_iters["niter"][-1]')
        return source

    if sys.version_info < (3, 12):
        SourceFileLoader.get_data = mended  # type: ignore[method-assign]


def stand_in_for_torchvision() -> None:
    """The one function that PtyRAD takes from torchvision, where that is not installed for a torch without CUDA."""
    try:
        import torchvision  # noqa: F401
    except Exception:  # a torchvision for another torch fails in many ways
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
        package, transforms, functional = (types.ModuleType(name) for name in names)
        functional.gaussian_blur = gaussian_blur  # type: ignore[attr-defined]
        transforms.functional = functional  # type: ignore[attr-defined]
        transforms.GaussianBlur = type("GaussianBlur", (), {})  # type: ignore[attr-defined]
        package.transforms = transforms  # type: ignore[attr-defined]
        sys.modules.update(zip(names, (package, transforms, functional), strict=True))


def gaussian_blur(image: torch.Tensor, kernel_size: Any, sigma: Any) -> torch.Tensor:
    """Separable blur of the last two axes, mirrored at the border."""
    size = int(kernel_size if isinstance(kernel_size, int) else kernel_size[0])
    width = float(sigma[0] if isinstance(sigma, (list, tuple)) else sigma)
    weights = torch.exp(-0.5 * ((torch.arange(size, dtype=image.dtype) - (size - 1) / 2) / width) ** 2)
    weights = weights / weights.sum()
    flat = image.reshape(-1, 1, *image.shape[-2:])
    padded = torch.nn.functional.pad(flat, [size // 2] * 4, mode="reflect")
    along = torch.nn.functional.conv2d(padded, weights[None, None, :, None])
    return torch.nn.functional.conv2d(along, weights[None, None, None, :]).reshape(image.shape)


if __name__ == "__main__":
    main()
