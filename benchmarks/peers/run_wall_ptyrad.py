"""PtyRAD on a GPU, its iterations timed by the wall clock: INPUT.npz FOLDER JSON. Runs in PtyRAD's environment.

As run_timed_ptyrad.py, on the requested device, which is selected as PtyRAD's command does (one GPU, no accelerator).
An iteration before the counted ones includes initial loading and planning.
"""

from importlib.metadata import version
from typing import Any

import torch

from benchmarks.peers.run_timed_ptyrad import changed
from benchmarks.peers.wall_clock import Asked, Enough, WallClock
from benchmarks.zoo.run_ptyrad import prepared, ready


def main() -> None:
    ready()
    import ptyrad.solver.reconstruction as loop
    from ptyrad.params import PtyRADParams
    from ptyrad.runtime.device import set_gpu_device
    from ptyrad.solver import PtyRADSolver

    request = Asked.read()
    on_card = request.device == "cuda"
    settings, pixel, first = prepared(request.given, request.iterations)
    settings = changed(settings, [])
    settings["recon_params"] |= {
        "BATCH_SIZE": {"size": request.batch, "grad_accumulation": 1},
        "compiler_configs": {"enable": request.compiled},
    }
    device = set_gpu_device(0 if on_card else "cpu")  # also the default for new tensors
    if on_card and device.type != "cuda":
        raise SystemExit("torch finds no card")
    solver = PtyRADSolver(PtyRADParams(**settings).model_dump(), device=device, seed=0, acc=None)
    solver.params["recon_params"]["NITER"] = 1
    solver.reconstruct()
    solver.params["recon_params"]["NITER"] = request.iterations
    wait = torch.cuda.synchronize if on_card else lambda: None
    clock = WallClock(request, wait, peak_MB if on_card else lambda: None, version("ptyrad"))
    clock.place(pixel, first)
    step = loop.recon_step

    def timed(batches: Any, grad: Any, model: Any, *rest: Any, **options: Any) -> Any:
        clock.start()
        losses = step(batches, grad, model, *rest, **options)
        clock.lap(lambda: model.opt_objp.detach().cpu().numpy()[0])
        return losses

    loop.recon_step = timed
    try:
        solver.reconstruct()
    except Enough:
        pass


def peak_MB() -> float:
    """Peak memory of arrays on the GPU, including what is cached for later ones."""
    return torch.cuda.max_memory_reserved() / 1e6


if __name__ == "__main__":
    main()
