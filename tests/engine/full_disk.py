"""Run by test_results_file.py: a process that writes results repeatedly to a disk with too little space."""

import resource
import signal
import sys
from pathlib import Path

import numpy as np

from ptylive.engine.results import write_maps
from ptylive.schema import Calibration, LiveMap, PtyliveError

sys.dont_write_bytecode = True  # what is imported below would be kept incomplete
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
FOREVER = resource.RLIM_INFINITY
folder, rng, refused = Path(sys.argv[1]), np.random.default_rng(0), 0
maps = [LiveMap(f"m{k}", rng.normal(size=(64, 64)).astype(np.float32), "rad", (1.0, 1.0), 4096, "") for k in range(8)]
for number in range(30):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000 * number + 500, FOREVER))
    try:
        write_maps(folder / "full.h5", maps, np.ones((64, 64), bool), Calibration(), {})
    except PtyliveError:
        refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (FOREVER, FOREVER))
    write_maps(folder / f"room{number}.h5", maps, np.ones((64, 64), bool), Calibration(), {})
print(refused)
