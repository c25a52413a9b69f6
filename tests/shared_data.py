"""Paths of the data sets that are not in the repository; tests skip with a reason if these are absent."""

import os
from pathlib import Path

import pytest

ROOTS = [Path(os.environ["PTYLIVE_SHARED_DATA"])] if "PTYLIVE_SHARED_DATA" in os.environ else []
ROOTS.append(Path(__file__).resolve().parents[2] / "shared" / "data")


def shared_data(name: str) -> Path:
    """Path of ``<name>.h5`` among the shared data sets; skips the calling test if it is missing."""
    for root in ROOTS:
        for folder in ("simulated", "real"):
            path = root / folder / f"{name}.h5"
            if path.exists():
                return path
    pytest.skip(f"shared data set {name} is not here (set PTYLIVE_SHARED_DATA)")


def vendor_file(name: str) -> Path:
    """Path of a sample from somebody's detector; skips the calling test if it is missing."""
    for root in ROOTS:
        if (path := root / "vendor" / name).exists():
            return path
    pytest.skip(f"vendor sample {name} is not here (set PTYLIVE_SHARED_DATA)")
