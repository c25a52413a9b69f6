"""Maps made from measured shifts of bright-field images instead of the calibration: the parallax options of `tcbf`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.imaging_conditions import ImagesAligned, ImagingConditions
from ptylive.engine.probe import Probe
from ptylive.schema import MetadataError

if TYPE_CHECKING:
    from ptylive.engine.calibrate.alignment.image_shifts import AlignmentOptions

METHOD = "tcbf"


def with_images(conditions: ImagingConditions, store: Store, *, copied: bool) -> ImagingConditions:
    """Return conditions that can align the images of a scan if the settings ask for it; without cost otherwise.

    ``copied``: work on a copy of the store, so that frames may arrive meanwhile.
    """
    if not conditions.is_aligned(METHOD):
        return conditions
    from ptylive.engine.calibrate.alignment.image_shifts import measure_shifts

    snapshot = store.snapshot() if copied else store

    def align(focused: ImagingConditions) -> ImagesAligned:
        if focused.placement is not None:
            raise MetadataError("images are aligned on a regular grid of points", f"leave {METHOD}.align_… out")
        alignment = measure_shifts(snapshot, focused, alignment_of(focused), snapshot.header.scan.rotation_deg)
        probe = focused.probe
        mrad = 1e3 * probe.semiangle_invA * probe.wavelength_A
        fitted = Probe.of(probe.wavelength_A, mrad, probe.edge_invA, alignment.aberrations)
        errors = {f"{name}_error": error for name, error in alignment.errors_A.items()}
        reported = {**alignment.aberrations, **errors, "rotation_deg": alignment.rotation_deg}
        return ImagesAligned(
            fitted, alignment.rotation_deg, {name: float(f"{value:.5g}") for name, value in reported.items()}
        )

    return replace(conditions, align=align)


def alignment_of(conditions: ImagingConditions) -> AlignmentOptions:
    """Return how images are to be aligned according to the settings. Raises MetadataError."""
    from ptylive.engine.calibrate.alignment.image_shifts import AlignmentOptions, Reference

    options = {
        name.partition(".align_")[2]: value
        for name, value in conditions.settings.items()
        if name.startswith(f"{METHOD}.align_")
    }
    return AlignmentOptions(
        options.get("bin_px"),
        int(options.get("order", 1)),
        list(Reference)[int(options.get("reference", 0))],
        int(options.get("rounds", 3)),
        near=not options.get("free", 0),
    )
