"""PtyRAD's Adam on a given problem: INPUT.npz SETTINGS.json OUT.json. Runs in PtyRAD's environment.

It uses PtyRAD's model, loss, batches, optimiser and step, without constraints; object and probe start from the given
arrays.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.zoo.run_ptyrad import ready


def main() -> None:
    ready()
    settings = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    with np.load(sys.argv[1]) as file:
        given = dict(file)
    curves = [curve(given, settings, seed) for seed in settings["seeds"]]
    Path(sys.argv[3]).write_text(json.dumps({"version": f"PtyRAD {version('ptyrad')}", "curves": curves}))


def curve(given: dict[str, Any], options: dict[str, Any], seed: int) -> list[float]:
    """Sum of (sqrt(I) - sqrt(D))^2 over sum of D in each epoch, evaluated while the parameters change."""
    from ptyrad.core.losses import CombinedLoss
    from ptyrad.core.models.ptycho import PtychoModel
    from ptyrad.params.loss_params import LossParams
    from ptyrad.params.model_params import ModelParams
    from ptyrad.solver.reconstruction import compute_loss, create_optimizer, make_batches, recon_step

    rates = {"objp": 5e-4, "probe": 1e-4} | ({} if options["phase_only"] else {"obja": 5e-4})
    every = ("obja", "objp", "obj_tilts", "slice_thickness", "probe", "probe_pos_shifts")
    update = {name: {"start_iter": 1 if name in rates else None, "lr": rates.get(name, 0.0)} for name in every}
    settings = ModelParams(update_params=update).model_dump()
    model = PtychoModel(variables(given, seed), settings, device="cpu")
    loss = CombinedLoss(LossParams().model_dump(), device="cpu")
    misfits: list[tuple[float, float]] = []
    single = loss.get_loss_single

    def recording_loss(model_dp: Any, measured_dp: Any) -> Any:
        with torch.no_grad():
            misfit = ((model_dp.double().sqrt() - measured_dp.double().sqrt()) ** 2).sum()
            misfits.append((float(misfit), float(measured_dp.double().sum())))
        return single(model_dp, measured_dp)

    loss.get_loss_single = recording_loss
    optimizer = create_optimizer(model.optimizer_params, model.optimizable_params)
    batches, found = [], []
    for turn in range(options["epochs"]):
        misfits.clear()
        if not options["own_batches"]:
            batches = np.split(given[f"order_{seed}"][turn], np.cumsum(given[f"sizes_{seed}"])[:-1])
        elif not batches:  # its own, the same in every epoch
            indices, places = np.arange(len(given["patterns"])), given["corners"].astype(float)
            batches = make_batches(indices, places, options["batch_size"], "random", seed=seed)
        recon_step(batches, 1, model, optimizer, None, loss, lambda *_: None, turn + 1, compute_loss_fn=compute_loss)
        found.append(sum(misfit_sum for misfit_sum, _ in misfits) / sum(counts for _, counts in misfits))
    return found


def variables(given: dict[str, Any], seed: int) -> dict[str, Any]:
    """Variables as from its initialiser: patterns over the largest counts of their mean, and the probe likewise."""
    patterns = np.fft.fftshift(given["patterns"], (1, 2))
    largest = float(patterns.mean(0, dtype=np.float64).max())
    size, count = patterns.shape[-1], len(patterns)
    free = given["propagators"][0] if given["object_shape"][0] > 1 else np.ones((size, size))
    return {
        "measurements": (patterns / largest).astype(np.float32),
        "obj": np.exp(1j * given["phase"][None]).astype(np.complex64),
        "obj_tilts": np.zeros((1, 2), np.float32),
        "slice_thickness": 1.0,
        "probe": (given["probe"] / np.sqrt(largest)).astype(np.complex64),
        "probe_pos_shifts": given["shifts_px"].astype(np.float32),
        "omode_occu": np.ones(1, np.float32),
        "H": free.astype(np.complex64),
        "N_scan_slow": count,
        "N_scan_fast": 1,
        "crop_pos": given["corners"].astype(np.int32),
        "dx": 1.0,
        "dk": 1.0,
        "lambd": 0.02,
        "random_seed": seed,
        "length_unit": "Ang",
        "scan_affine": None,
        "meas_Npix": size,
        "simu_Npix": size,
        "simu_match_mode": None,
        "recon_provenance": None,
    }


if __name__ == "__main__":
    main()
