"""Virtual detectors as users write them: what is accepted, what is refused, and what a scan then contains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ptylive
from ptylive.application.detector_texts import named, read_detectors, text_of
from ptylive.engine.imaging.virtual_detectors import DetectorBank, DetectorContext, MaskDetector, VirtualDetector
from ptylive.schema import (
    Calibration,
    Detector,
    FrameBatch,
    InputFileError,
    MetadataError,
    Origin,
    PtyliveError,
    Quantity,
    Scan,
    ScanHeader,
)
from ptylive.schema.units import wavelength_A

KNOWN = Calibration(
    {
        "energy_eV": Quantity(80e3, Origin.GIVEN),
        "detector_pixel_invA": Quantity(2e-3 / wavelength_A(80e3), Origin.GIVEN),  # 2 mrad
        "beam_center_px": Quantity((7.5, 8.0), Origin.ESTIMATED),
    }
)
ROWS, COLUMNS = np.indices((16, 16))


def understood(text: str) -> VirtualDetector:
    (one,) = read_detectors({"x": text})
    return one.placed(DetectorContext(KNOWN, np.ones((16, 16))))  # type: ignore[union-attr,return-value]


@pytest.mark.parametrize(
    ("text", "center", "inner", "outer"),
    [
        ("disc:3", (7.5, 8.0), 0, 3),
        ("disc:6mrad", (7.5, 8.0), 0, 3),
        ("disc: 0.006 rad", (7.5, 8.0), 0, 3),
        ("ring:2, 10 mrad", (7.5, 8.0), 2, 5),
        ("disc:1,2,3px", (1, 2), 0, 3),
        ("ring:1,2,3,4", (1, 2), 3, 4),
    ],
)
def test_what_is_understood(text: str, center: tuple[float, float], inner: float, outer: float) -> None:
    found = understood(text)
    assert found.center_px == center
    assert (found.inner_px, found.outer_px) == pytest.approx((inner, outer))


@pytest.mark.parametrize("inner", [0.0, 1e-5, 2 / 3])
def test_a_drawn_one_is_the_same_in_words(inner: float) -> None:
    drawn = VirtualDetector(name="x", center_px=(-1e-5, 100 / 7), inner_px=inner, outer_px=1e3 / 3)
    assert understood(text_of(drawn)) == drawn


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"a": "disc:"}, "a disc needs 1 radius, or row, column and it"),
        ({"a": "disc:1,2"}, "a disc needs"),
        ({"a": "ring:1"}, "a ring needs 2 radii"),
        ({"a": "ring:1,2,3"}, "a ring needs"),
        ({"a": "ring:1 kg,2"}, "a ring needs"),
        ({"a": "disc:nan"}, "a disc needs"),
        ({"a": "square:3"}, "neither a disc, a ring nor a mask"),
        ({"a": ""}, "neither a disc"),
        ({"../a": "disc:3"}, "detector name"),
        ({"a" * 25: "disc:3"}, "detector name"),
        ({str(k): "disc:3" for k in range(9)}, "9 virtual detectors"),
        ({"a": np.zeros((16, 16))}, "is empty"),
        ({"a": np.full((16, 16), np.nan)}, "holds values that are not numbers"),
        ({"a": np.ones(16)}, "is 16 of float64"),
        ({"a": np.ones((2, 2), complex)}, "complex128"),
    ],
)
def test_what_is_refused(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(MetadataError, match=says):
        read_detectors(asked)


@pytest.mark.parametrize("text", ["disc:-1", "disc:0", "ring:5,5", "ring:6,5", "disc:1e9"])
def test_radii_that_cannot_be(text: str) -> None:
    with pytest.raises(MetadataError, match="radii of"):
        understood(text)


@pytest.mark.parametrize(("text", "lacks"), [("disc:1,2,5mrad", "detector_pixel_invA"), ("disc:5", "beam_center_px")])
def test_what_the_calibration_lacks_is_named(text: str, lacks: str) -> None:
    (one,) = read_detectors({"x": text})
    with pytest.raises(MetadataError, match=f"detector x needs {lacks}"):
        one.placed(DetectorContext(Calibration(), np.ones((16, 16))))  # type: ignore[union-attr]


@pytest.mark.parametrize(("texts", "says"), [(["disc:3"], "has no name"), (["a=disc:3", "a=disc:4"], "two detectors")])
def test_texts_without_a_name_or_with_one_twice_are_refused(texts: list[str], says: str) -> None:
    with pytest.raises(MetadataError, match=says):
        named(texts)
    assert named(["a = disc:3", "b=x=y.npy"]) == {"a": "disc:3", "b": "x=y.npy"}


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(3).poisson(4, (5, 6, 16, 16)).astype("<u2")


@pytest.fixture
def scan(tmp_path: Path, counts: np.ndarray) -> Path:
    path = tmp_path / "scan.h5"
    bad = np.zeros((16, 16), bool)
    bad[7, 9] = True
    with h5py.File(path, "w") as file:
        file["data"] = counts
        file["metadata/bad_pixel_mask"] = bad
        optics = {"energy_eV": 80e3, "convergence_semiangle_mrad": 10.0, "detector_pixel_mrad": 2.0}
        file["metadata"].attrs.update({**optics, "scan_step_A": 0.5, "beam_center_px": (7.5, 8.0)})
    return path


def test_maps_are_the_sums(scan: Path, counts: np.ndarray, tmp_path: Path) -> None:
    weights = np.where(ROWS < 8, 0.5, -1.0)
    np.save(tmp_path / "halves.npy", weights)
    asked = {"disc": "disc:6 mrad", "ring": "ring:3,4,2,5", "halves": str(tmp_path / "halves.npy"), "given": weights}
    made = ptylive.open_scan(scan).reconstruct(["bf"], detectors=asked)

    usable = counts.astype(float)
    usable[..., 7, 9] = 0
    centred, aside = np.hypot(ROWS - 7.5, COLUMNS - 8), np.hypot(ROWS - 3, COLUMNS - 4)
    for name, mask in (
        ("disc", centred < 3),
        ("ring", (aside >= 2) & (aside < 5)),
        ("halves", weights),
        ("given", weights),
    ):
        expected = (usable * mask).sum(axis=(2, 3))
        assert np.allclose(made[f"vd_{name}"].data, expected, rtol=1e-6, atol=1e-4), name  # single precision
    assert made["vd_disc"].units == "counts"
    assert made["vd_ring"].method == "ring 2–5 px"
    assert made["vd_halves"].method == "mask halves.npy"


def test_what_does_not_fit_the_scan(scan: Path, tmp_path: Path) -> None:
    opened = ptylive.open_scan(scan)
    with pytest.raises(MetadataError, match="mask a is 4 x 4 pixels, the detector 16 x 16"):
        opened.reconstruct(["bf"], detectors={"a": np.ones((4, 4))})
    with pytest.raises(InputFileError, match=r"nothing\.npy"):
        opened.reconstruct(["bf"], detectors={"a": str(tmp_path / "nothing.npy")})
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY rubbish")
    with pytest.raises(PtyliveError, match="not an array file"):
        opened.reconstruct(["bf"], detectors={"a": str(tmp_path / "bad.npy")})


def test_settings_of_maps_in_a_notebook(scan: Path) -> None:
    opened = ptylive.open_scan(scan)
    damped = opened.reconstruct(["idpc"], settings={"idpc.lowpass_invA": 0.1})["idpc"]
    assert damped.settings == {"lowpass_invA": 0.1}
    assert damped.data.std() < opened.reconstruct(["idpc"])["idpc"].data.std()
    with pytest.raises(MetadataError, match="'energy_eV' is not a map setting"):
        opened.reconstruct(["idpc"], settings={"energy_eV": 1})


def test_pixels_are_chosen_by_what_they_count() -> None:
    mean = np.hypot(ROWS - 7.5, COLUMNS - 8.0).max() - np.hypot(ROWS - 7.5, COLUMNS - 8.0)
    bad = np.zeros(mean.shape, bool)
    bad[0, 0] = True
    mean[0, 0] = 1e6  # hot: does not set the scale for the others
    by = DetectorContext(KNOWN, mean, bad)
    above, below = (read_detectors({"x": text})[0].placed(by) for text in ("above:0.5", "below:0.5"))
    assert isinstance(above, MaskDetector) and isinstance(below, MaskDetector)
    np.testing.assert_array_equal(above.weights > 0, (mean >= 0.5 * mean[~bad].max()) & ~bad)
    np.testing.assert_array_equal((above.weights > 0) ^ (below.weights > 0), ~bad)
    with pytest.raises(MetadataError, match="no pixel is below"):
        read_detectors({"x": "below:1"})[0].placed(DetectorContext(KNOWN, np.ones((4, 4))))


def test_what_left_the_detector_is_what_the_patterns_lack() -> None:
    frames = np.full((4, 5, 5), 10, np.uint16)
    frames[1, 2, 2], frames[3, 0, 0] = 3, 0
    header = ScanHeader(
        "u", "s", 4, Scan(shape=(2, 2), step_A=(1.0, 1.0)), detector=Detector(shape=(5, 5), dtype="<u2")
    )
    bank = DetectorBank(header)
    bank.use(read_detectors({"haadf": "lost"}))  # type: ignore[arg-type]
    bank.add(FrameBatch("u", np.arange(4), frames))
    (found,) = bank.maps(4)
    assert found.name == "vd_haadf"
    np.testing.assert_array_equal(found.data, [[0, 7], [0, 10]])


def test_profiles_are_maps_of_their_own(tmp_path: Path) -> None:
    scan = ptylive.simulate(
        tmp_path / "scan.h5", scan_shape=(8, 8), detector_shape=(32, 32), detector_pixel_mrad=4.0, dose_e_per_A2=1e4
    )
    made = scan.reconstruct(["bf"], detectors={"rings": "profiles:2", "haadf": "lost", "bright": "above:0.5"})
    names = {f"vd_{name}" for name in ("rings_1", "rings_2", "haadf", "bright")}
    assert names <= set(made)
    assert len(made["vd_rings_1"].settings["shape_counts"]) > 16
    # a disc of 25 mrad contains the pixels above half of the brightest, apart from its soft edge
    assert np.corrcoef(made["vd_bright"].data.ravel(), made["bf"].data.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("text", ["profiles:", "profiles:0", "profiles:10", "profiles:2.5", "profiles:-1"])
def test_components_are_a_few(text: str) -> None:
    with pytest.raises(MetadataError, match="need a number of components"):
        read_detectors({"x": text})


@pytest.mark.parametrize("text", ["above:", "above:0", "above:1.5", "below:2 px", "above:much"])
def test_shares_are_between_none_and_all(text: str) -> None:
    with pytest.raises(MetadataError, match="needs a share of the brightest pixel"):
        read_detectors({"x": text})


def test_what_cannot_be_placed_is_tried_again_only_when_more_is_known() -> None:
    header = ScanHeader("u", "s", 4, Scan(shape=(2, 2), step_A=(1.0, 1.0)), detector=Detector(shape=(16, 16)))
    bank, mean = DetectorBank(header), np.ones((16, 16))
    written = read_detectors({"haadf": "ring:10mrad,14mrad"})
    bank.use((), written)  # type: ignore[arg-type]
    less = Calibration({"beam_center_px": KNOWN.entries["beam_center_px"]})
    assert bank.may_be_placed(less)
    assert len(bank.place(DetectorContext(less, mean, None))) == 1
    assert not bank.may_be_placed(less)
    assert bank.may_be_placed(KNOWN)
    bank.use((), written)  # type: ignore[arg-type]
    assert bank.may_be_placed(less), "others may be placed by the same"
