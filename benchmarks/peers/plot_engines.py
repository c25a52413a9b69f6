"""Plot the curves that benchmarks/engines_vs_peers.py wrote: CURVES.json PICTURE.png. Requires matplotlib."""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def main() -> None:
    cases = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    figure = Figure((3.0 * len(cases), 2.9), layout="constrained")
    for place, (name, case) in zip(figure.subplots(1, len(cases)), cases.items(), strict=True):
        theirs, ours = np.mean(case["curves"], axis=0), np.mean(case["ours"], axis=0)
        epochs = np.arange(1, len(theirs) + 1)
        place.plot(epochs, theirs, "-", color="0.6", linewidth=4, label=case["version"])
        place.plot(epochs, ours, "k.-", linewidth=0.8, markersize=4, label="ptylive")
        place.set_title(f"{name}\n{case['scan'].rsplit('_', 2)[0]}", fontsize=9)
        place.set_xlabel("epoch", fontsize=8)
        place.tick_params(labelsize=7)
        place.legend(fontsize=7)
    figure.axes[0].set_ylabel("Σ(√I − √D)² / ΣD", fontsize=8)
    figure.savefig(sys.argv[2], dpi=100)


if __name__ == "__main__":
    main()
