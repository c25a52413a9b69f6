"""py4DSTEM's ptychography, its iterations timed: INPUT.npz FOLDER ITERATIONS. Runs in py4DSTEM's environment.

Settings are those of the zoo: a potential as object, step 0.5, batches of 32, single slice or multislice.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.peers.clock import Clock
from benchmarks.zoo.run_py4dstem import BATCH, STEP, prepared


def main() -> None:
    run = prepared(sys.argv[1])
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
