"""Experiments for tests of `ptylive plan`: the documented experiment with changes."""

from typing import Any

from ptylive.engine.planning.experiment import Experiment
from ptylive.schema import Detector, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.schema.scan import Scan

DOCUMENTED = {
    "energy_eV": 80e3,
    "convergence_semiangle_mrad": 21.4,
    "scan_step_A": 0.4,
    "scan_shape": (256, 256),
    "detector_pixel_mrad": 0.8,
    "defocus_A": 150.0,
    "dwell_time_us": 100.0,
}
LAMBDA_A = 0.04175716056489365
"""At 80 keV, from abTEM 1.0.11."""


def experiment(pixels: tuple[int, int] | None = (256, 256), **values: Any) -> Experiment:
    """The documented experiment; values that are None are unknown; values other than metadata go to the experiment."""
    own = {"beam_current_pA": 10.0, "thickness_A": 200.0}
    own.update(
        {name: values.pop(name) for name in ("beam_current_pA", "dose_e_per_A2", "thickness_A") if name in values}
    )
    free_bytes = values.pop("free_bytes", 1e12)
    blank = ScanHeader("", "", 0, scan=Scan(), detector=Detector(shape=pixels))
    told = {name: value for name, value in {**DOCUMENTED, **values}.items() if value is not None}
    return Experiment(overlay(blank, told), free_bytes=free_bytes, **own)
