"""PtyRAD, its iterations timed: INPUT.npz FOLDER ITERATIONS [REFINED ...]. Runs in PtyRAD's environment.

Settings are those of the zoo, but with one probe mode and without refining positions; REFINED adds modes, positions or
tilts.
"""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers.clock import Clock
from benchmarks.zoo.run_ptyrad import prepared, ready

MODES = 4


def main() -> None:
    ready()
    import ptyrad.solver.reconstruction as loop
    from ptyrad.params import PtyRADParams
    from ptyrad.solver import PtyRADSolver

    settings, pixel, first = prepared(sys.argv[1], int(sys.argv[3]))
    settings = changed(settings, sys.argv[4:])
    clock, step = Clock(Path(sys.argv[2])), loop.recon_step

    def timed(batches: Any, grad: Any, model: Any, *rest: Any, **options: Any) -> Any:
        clock.start()
        losses = step(batches, grad, model, *rest, **options)
        clock.lap(lambda: model.opt_objp.detach().numpy()[0])
        return losses

    loop.recon_step = timed
    PtyRADSolver(PtyRADParams(**settings).model_dump(), device="cpu", seed=0, acc=None).reconstruct()
    clock.finish(version("ptyrad"), pixel, first)


def changed(settings: dict[str, Any], refined: list[str]) -> dict[str, Any]:
    """Settings of the zoo, refining only object, probe and what is requested."""
    settings["init_params"]["probe_pmode_max"] = MODES if "modes" in refined else 1
    update = settings["model_params"]["update_params"]
    if "positions" not in refined:
        update["probe_pos_shifts"] = {"start_iter": None, "lr": 0}
    if "tilts" in refined:
        update["obj_tilts"] = {"start_iter": 1, "lr": 1e-4}
    return settings


if __name__ == "__main__":
    main()
