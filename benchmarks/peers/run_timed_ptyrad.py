"""PtyRAD, its iterations timed: INPUT.npz FOLDER ITERATIONS [REFINED ...]. Runs in PtyRAD's environment.

As the zoo runs it, with one probe mode and without its positions; REFINED adds modes, positions or tilts.
"""

import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.clock import Clock
from benchmarks.zoo.run_ptyrad import corners_px, parameters, readable_by_python_3_11, stand_in_for_torchvision

MODES = 4


def main() -> None:
    stand_in_for_torchvision()
    readable_by_python_3_11()
    logging.disable(logging.CRITICAL)
    import ptyrad.solver.reconstruction as loop
    from ptyrad.params import PtyRADParams
    from ptyrad.solver import PtyRADSolver

    torch.set_num_threads(1)
    with np.load(sys.argv[1]) as given:
        patterns, positions, told = given["patterns"], given["positions_A"], json.loads(str(given["calibration"]))
    pixel = 1 / (patterns.shape[-1] * told["pixel_invA"])
    corners = corners_px(positions / pixel, patterns.shape[-1])
    asked = changed(parameters(patterns, corners, told, int(sys.argv[3])), sys.argv[4:])
    clock, step = Clock(Path(sys.argv[2])), loop.recon_step

    def timed(batches: Any, grad: Any, model: Any, *rest: Any, **more: Any) -> Any:
        clock.start()
        losses = step(batches, grad, model, *rest, **more)
        clock.lap(lambda: model.opt_objp.detach().numpy()[0])
        return losses

    loop.recon_step = timed
    PtyRADSolver(PtyRADParams(**asked).model_dump(), device="cpu", seed=0, acc=None).reconstruct()
    clock.finish(version("ptyrad"), pixel, corners[0] + patterns.shape[-1] // 2)


def changed(settings: dict[str, Any], refined: list[str]) -> dict[str, Any]:
    """Settings of the zoo, refining object and probe and nothing else but what is asked for."""
    settings["init_params"]["probe_pmode_max"] = MODES if "modes" in refined else 1
    update = settings["model_params"]["update_params"]
    if "positions" not in refined:
        update["probe_pos_shifts"] = {"start_iter": None, "lr": 0}
    if "tilts" in refined:
        update["obj_tilts"] = {"start_iter": 1, "lr": 1e-4}
    return settings


if __name__ == "__main__":
    main()
