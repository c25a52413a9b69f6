"""Independent estimates of a scan's values, reported next to those that were given."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from quick_first import quick_first
from synthetic import ENERGY_EV, WeakPhaseScan, batches

from ptylive.engine.descan import moved
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.schema import CommandError, MetadataError, Origin, Quantity
from ptylive.schema.detector import Descan
from ptylive.schema.units import mrad_to_invA, wavelength_A
from ptylive.server.commands.independent_commands import THUMBNAIL, IndependentCommands, pixel_beside
from ptylive.server.wire.messages import array_from_plain


class Lock:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def engine() -> LiveEngine:
    scan = WeakPhaseScan.make({"C10": -60.0}, n=32, strength=0.1)
    return reconstruct(scan.header(), lambda: batches(scan.patterns.astype(np.float32)), ("bf",))[0]


def commands(engine: LiveEngine | None, **given: Any) -> IndependentCommands:
    calibration = None
    if engine is not None:
        assert engine.calibration is not None
        calibration = engine.calibration.having(**{k: Quantity(v, Origin.GIVEN) for k, v in given.items()})
    scan: Any = SimpleNamespace(lock=Lock(), engine=engine, calibration=calibration)
    return IndependentCommands(SimpleNamespace(shown=scan))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("claimed", "agrees"), quick_first([(-60.0, True), (-200.0, False), (-75.0, True), (60.0, False)], 2)
)
def test_a_defocus_agrees_within_half_a_depth_of_focus(engine: LiveEngine, claimed: float, agrees: bool) -> None:
    """80 kV, 18.8 mrad: depth of focus 118 Å, half of it 59."""
    found = commands(engine, C10=claimed, depth_A=0.0).command_estimates()["estimates"]["C10"]
    assert found["agrees"] is agrees
    assert abs(found["value"] + 60.0) < 15.0


def test_images_are_aligned_and_the_optics_told() -> None:
    """80 kV, 18.8 mrad, -150 Å: shifts at the rim are 2.8 Å, measured to at least a tenth of that."""
    scan = WeakPhaseScan.make({"C10": -150.0}, n=24, strength=0.1)
    made = reconstruct(scan.header(lies_still=True), lambda: batches(scan.patterns.astype(np.float32)), ("bf",))[0]
    found = commands(made).command_align(order=1, rounds=2)
    assert found["aberrations"]["C10"]["value_A"] == pytest.approx(-150.0, abs=15.0)
    assert found["values"]["C10"] == pytest.approx(found["aberrations"]["C10"]["value_A"], rel=1e-3)
    assert array_from_plain(found["png"]).tobytes().startswith(b"\x89PNG")
    with pytest.raises(MetadataError) as refused:
        commands(made).command_align(reference="centr")
    assert "centre" in refused.value.line()
    with pytest.raises(MetadataError, match="order=4"):
        commands(made).command_align(order=4)


def test_the_disc_tells_the_pixel_that_semi_angle_and_energy_make(engine: LiveEngine) -> None:
    assert engine.calibration is not None
    aperture = mrad_to_invA(20.0, wavelength_A(ENERGY_EV))
    disc = Quantity(10.0, Origin.ESTIMATED, 0.1)
    values = {"convergence_semiangle_mrad": Quantity(20.0, Origin.GIVEN), "disc_radius_px": disc}

    def beside(pixel: float, origin: Origin = Origin.GIVEN) -> dict[str, Any] | None:
        assert engine.calibration is not None
        return pixel_beside(engine.calibration.having(detector_pixel_invA=Quantity(pixel, origin), **values))

    right = beside(aperture / 10)
    assert right is not None
    assert right["value"] == pytest.approx(aperture / 10)
    assert right["agrees"]
    wrong = beside(aperture / 12)
    assert wrong is not None
    assert not wrong["agrees"]
    assert beside(aperture / 10, Origin.ESTIMATED) is None, "it was made of the disc"


def test_eight_pictures_come_small(engine: LiveEngine) -> None:
    told = commands(engine).command_orientations()["orientations"]
    assert len(told) == 8
    for one in told:
        picture = array_from_plain(one["picture"])
        assert picture.dtype == np.uint8
        assert max(picture.shape) <= THUMBNAIL
        assert picture.max() > 200


def test_a_weak_specimen_is_told_to_be_one(engine: LiveEngine) -> None:
    assert 0.01 < commands(engine).command_estimates()["modulation"] < 0.4


def test_without_frames_there_is_nothing_to_ask() -> None:
    with pytest.raises(CommandError, match="no frames of this scan are in memory"):
        commands(None).command_estimates()


WANDER = Descan.of([2.0, -0.6, 0.3, 1.0])


@pytest.fixture(scope="module")
def wandering() -> WeakPhaseScan:
    """A scan whose pattern is going to wander by 2.7 px over the field."""
    return WeakPhaseScan.make({"C10": -80.0}, strength=0.05)


@pytest.mark.parametrize(
    ("given", "agrees", "apart_px"),
    quick_first(
        [
            ((2.0, -0.6, 0.3, 1.0), True, 0.0),
            ((0.0,), False, 2.7),
            ((-2.0, 0.6, -0.3, -1.0), False, 5.4),
            ((2.0, -0.6, 0.3, 2.5), False, 1.5),
        ],
        2,
    ),
)
def test_a_descan_that_was_given_stands_beside_what_is_left_of_it(
    wandering: WeakPhaseScan, given: tuple[float, ...], agrees: bool, apart_px: float
) -> None:
    """Patterns were moved back by the given descan; the remaining movement shows how wrong it is."""
    header = wandering.header()
    wander = WANDER.at_points(np.arange(1024), (32, 32))
    patterns = moved(wandering.patterns, -wander).astype(np.float32)
    header = replace(header, detector=header.detector.model_copy(update={"descan_px": given}))
    engine = reconstruct(header, lambda: batches(patterns), ("bf",))[0]
    found = commands(engine).command_estimates()["estimates"]["descan_px"]
    assert found["agrees"] is agrees
    assert found["apart_px"] == pytest.approx(apart_px, abs=0.25)
    assert Descan.of(found["value"]).minus(WANDER).extent_px < 0.25


def test_nothing_is_said_of_a_descan_that_nobody_gave(engine: LiveEngine) -> None:
    assert "descan_px" not in commands(engine).command_estimates()["estimates"]
