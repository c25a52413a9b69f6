"""Electron ptychography while the microscope scans.

    import ptylive

    scan = ptylive.open_scan("scan.h5", energy_eV=80e3)     # or an array (rows, columns, Qy, Qx)
    maps = scan.reconstruct()
    refined = scan.refine(epoch_max=20)

Public names are loaded on first use, so that ``import ptylive`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptylive.application.extensions import Preset as Preset
    from ptylive.application.planning import plan as plan
    from ptylive.batches import batch as batch
    from ptylive.engine.live.engine import LiveEngine as LiveEngine
    from ptylive.scans import Maps as Maps
    from ptylive.scans import Refined as Refined
    from ptylive.scans import Scan as Scan
    from ptylive.scans import connect as connect
    from ptylive.scans import open_scan as open_scan
    from ptylive.scans import reconstruct as reconstruct
    from ptylive.scans import refine as refine
    from ptylive.scans import simulate as simulate
    from ptylive.simulators.sender import Sender as Sender
    from ptylive.tunings import tune as tune

    __version__: str

_HOMES = {
    "LiveEngine": "ptylive.engine.live.engine",
    "Maps": "ptylive.scans",
    "Preset": "ptylive.application.extensions",
    "Refined": "ptylive.scans",
    "Scan": "ptylive.scans",
    "Sender": "ptylive.simulators.sender",
    "batch": "ptylive.batches",
    "connect": "ptylive.scans",
    "open_scan": "ptylive.scans",
    "plan": "ptylive.application.planning",
    "reconstruct": "ptylive.scans",
    "refine": "ptylive.scans",
    "simulate": "ptylive.scans",
    "tune": "ptylive.tunings",
}
__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Load a public name on first use. Raises AttributeError for any other."""
    if name == "__version__":
        from importlib.metadata import version

        return version("ptylive")
    if name not in _HOMES:
        raise AttributeError(f"module 'ptylive' has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
