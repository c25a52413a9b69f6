"""Made-up histories of a refinement: an object that grows brighter, positions that move."""

import numpy as np

from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.refine.run.history import History

SHAPE = (1, 2, 40, 30)


def result(epoch, *, moved=0.0, window=16, loss=None):
    rng = np.random.default_rng(1)
    y, x = np.indices(SHAPE[-2:])
    phase = 0.1 * epoch * np.exp(-((y - 20) ** 2 + (x - 15) ** 2) / 50)
    positions = np.stack(np.meshgrid(np.arange(6.0), np.arange(5.0), indexing="ij"), -1).reshape(-1, 2)
    return RefineResult(
        object=np.broadcast_to(np.exp(1j * phase), SHAPE).astype(np.complex64),
        object_sampling_A=(0.2, 0.2),
        slice_thickness_A=(5.0, 5.0),
        origin_A=(0.0, 0.0),
        probe=rng.normal(size=(1, 2, window, window)).astype(np.complex64),
        positions_A=positions + moved * epoch * rng.normal(size=positions.shape),
        loss=np.linspace(9, 9 - epoch, epoch) if loss is None else np.asarray(loss),
        phases=("sweep",) * epoch,
        seconds=np.ones(epoch),
        evaluations=1.0,
        state="running",
        algorithm="ml",
        reason="",
        message="",
        backend="cpu",
    )


def written(folder, epochs=4, **how):
    for epoch in range(epochs):
        History(folder).keep(epoch, lambda epoch=epoch: result(epoch, **how))
    return folder
