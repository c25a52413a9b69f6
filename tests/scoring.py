"""How well a refined object agrees with a shared data set's truth: ../shared/tools/score.py."""

import importlib.util
from pathlib import Path

import pytest


def object_correlation(truth: Path, result, folder: Path) -> float:
    """Correlation of a refinement's object with the truth; skips where the tool is not here."""
    return float(object_score(truth, result, folder)["corr"])


def object_score(truth: Path, result, folder: Path) -> dict[str, float]:
    """Everything the tool says of a refinement's object; skips where the tool is not here."""
    h5py = pytest.importorskip("h5py")
    tool = truth.parents[2] / "tools" / "score.py"
    if not tool.exists():
        pytest.skip("the scoring tool is not here")
    spec = importlib.util.spec_from_file_location("score", tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with h5py.File(folder / "out.h5", "w") as file:
        written = file.create_dataset("refinement/object", data=result.object)
        written.attrs["sampling_A"] = result.object_sampling_A
        written.attrs["origin_A"] = result.origin_A
    return module.score_object(truth, folder / "out.h5")
