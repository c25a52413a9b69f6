"""Deep generative priors compared with the refinement of pixels, on scans that `ptylive simulate` draws.

    python -m benchmarks.dgp [--cases dose strangers …] [--files FILE ...] [--folder FOLDER] [--write docs/dgp.md]

Run it from the root of the repository, with PyTorch installed (`pip install 'ptylive[dgp]'`). It uses one thread and
reports CPU seconds. Scans and figures are kept in the folder, so that an interrupted run can be resumed; a given file
is a simulated scan with a /truth. The truth is used only in this benchmark.

    dose       correlation with the truth of three specimens at 10^2, 10^3 and 10^4 electrons per square ångström
    strangers  the same for specimens on which nothing was tuned, drawn from a seed
    halves     two halves of the dose for some of them: information limit, with its error
    pace       epochs until frequencies below 0.1 1/Å have 0.9 of their power, from the same two sweeps
    depth      a bilayer in 16 slices of 1 Å and 6 probe modes: phase in slices without a layer
    null       patterns in a wrong order on a field of 77 Å: rings of the correlation with the truth, and the report
    size       64 x 64 patterns of 64 x 64 pixels: CPU seconds and memory
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.dgp import measures
from benchmarks.dgp.report import tables
from benchmarks.dgp.scans import SMOOTH, SPECIMENS, stranger
from benchmarks.zoo.tables import hardware

CASES = ("dose", "strangers", "halves", "pace", "depth", "null", "size")
DOSES = (1e2, 1e3, 1e4)
SEED = 20261125
STRANGERS, HALVED = 6, 4
BEGIN, END = "<!-- benchmarks/dgp -->", "<!-- end -->"


def main() -> None:
    """Measure requested cases that have not been measured, and write the tables of all results."""
    given = arguments()
    given.folder.mkdir(parents=True, exist_ok=True)
    stored = given.folder / "figures.json"
    for name, make in jobs(given):
        found = json.loads(stored.read_text()) if stored.exists() else {}
        if name in found:
            continue
        figures = make()
        found = json.loads(stored.read_text()) if stored.exists() else {}  # another run may have added its results
        found[name] = figures
        stored.write_text(json.dumps(found, indent=1))
        print(f"{name}: {figures}", flush=True)
    found = json.loads(stored.read_text()) if stored.exists() else {}
    text = f"{hardware()}; load {os.getloadavg()[0]:.0f}.\n\n{tables(found)}"
    print(text)
    if given.write is not None:
        before, _, rest = given.write.read_text(encoding="utf-8").partition(BEGIN)
        given.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dgp", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="*", default=CASES, choices=CASES, help="what is measured")
    parser.add_argument("--files", nargs="*", default=(), type=Path, help="simulated scans with a /truth, besides")
    parser.add_argument("--seed", type=int, default=SEED, help="of the strangers")
    parser.add_argument("--strangers", type=int, default=STRANGERS, help="how many")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "ptylive-dgp", help="what is kept")
    parser.add_argument("--write", type=Path, help="Markdown file whose tables are replaced")
    return parser.parse_args()


def jobs(given: argparse.Namespace) -> list[tuple[str, Any]]:
    """Name and function of every measurement, in the order of the requested cases."""
    folder, first = given.folder, next(iter(SPECIMENS))
    strangers = [stranger(number, given.seed) for number in range(given.strangers)]
    thin = {**SPECIMENS[first], "slice_thickness_A": 1.0, "scan_shape": (24, 24), "detector_shape": (48, 48)}
    wide = {"scan_shape": (64, 64), "scan_step_A": (1.2, 1.2), "detector_shape": (48, 48)}
    large = {**SPECIMENS[first], "scan_shape": (64, 64)}
    of_case = {
        "dose": [
            (f"dose/{name}/{dose:g}", partial(measures.compared, folder, name, settings, dose))
            for dose in DOSES
            for name, settings in SPECIMENS.items()
        ],
        "strangers": [
            (f"strangers/{name}/{dose:g}", partial(measures.compared, folder, name, settings, dose))
            for dose in DOSES
            for name, settings in strangers
        ],
        "halves": [
            (f"halves/{name}/{dose:g}", partial(measures.halves, folder, name, settings, dose))
            for dose in DOSES
            for name, settings in strangers[:HALVED]
        ],
        "pace": [
            (f"pace/{name}/{dose:g}", partial(measures.pace, folder, name, settings, dose))
            for name, settings in SMOOTH.items()
            for dose in (1e3, 1e4)
        ],
        "depth": [("depth/bilayer/10000", partial(measures.depth, folder, "depth", thin, 1e4))],
        "null": [
            (f"null/{name}/{dose:g}", partial(measures.shuffled, folder, f"wide {name}", {**settings, **wide}, dose))
            for name, settings in ((first, SPECIMENS[first]), next(iter(SMOOTH.items())))
            for dose in (1e2, 1e4)
        ],
        "size": [("size/64 x 64/10000", partial(measures.compared, folder, "size", large, 1e4))],
    }
    chosen = [job for case in given.cases for job in of_case[case]]
    return chosen + [(f"dose/{path.stem}/as recorded", partial(measures.compared_file, path)) for path in given.files]


if __name__ == "__main__":
    main()
