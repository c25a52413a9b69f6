"""Data sets that come with the program: simulated scans with known answers, for the demo and the first steps."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ptylive.schema import InputFileError

BUNDLED: dict[str, str] = {
    "mos2_svac_80kV_focus": "MoS2 monolayer with S vacancies and a W dopant, 64 x 64 scan in focus, 80 kV",
    "au_ac_300kV_parallax": "Au particles on amorphous carbon, 48 x 48 scan, 400 Å underfocus, 300 kV",
}
"""Name -> description."""


def bundled(name: str) -> Path:
    """Path of a bundled data set. Raises InputFileError for a name that is not in :data:`BUNDLED`."""
    if name not in BUNDLED:
        raise InputFileError(f"no bundled data set is called {name!r}", f"choose one of {', '.join(BUNDLED)}")
    return Path(str(resources.files(__name__).joinpath(f"{name}.h5")))
