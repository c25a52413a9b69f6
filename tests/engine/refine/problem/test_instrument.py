"""Imperfections of the instrument as set by the user: found where refined, refused where impossible."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine import refine
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.instrument import FIRST_PSF_PX
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

PLAIN = {"window_px": 24, "probe_modes": 1}


def prepared(dataset, **values):
    return prepare(dataset, Preset.from_mapping({**PLAIN, **values}), None)


def smeared(dataset, sigma_px, seed):
    """Displace every electron by some pixels; also return the displacement along an axis (standard deviation)."""
    rng, counts = np.random.default_rng(seed), dataset.patterns[:].copy()
    size = counts.shape[-1]
    counts[:, dataset.bad_pixels] = 0
    hit = np.repeat(np.indices(counts.shape).reshape(3, -1), counts.ravel(), axis=1)
    moves = np.rint(rng.normal(scale=sigma_px, size=(2, hit.shape[1]))).astype(int)
    found = np.zeros_like(counts)
    np.add.at(found, (hit[0], *((hit[1:] + moves) % size)), 1)
    found[:, dataset.bad_pixels] = 65535
    return replace(dataset, patterns=found), float(moves.std())


@pytest.mark.slow
def test_the_width_of_a_point_spread_is_found(simulated):
    """The width starts from half a pixel, with the true probe; without it the loss is higher."""
    scan, true_px = smeared(simulated.dataset, 0.8, seed=5)
    wanted = {**PLAIN, "epoch_max": 10, "sweeps": 5, "algorithm": "ml", "loss_floor": 0.01, "update_probe": False}
    without = refine(scan, Preset.from_mapping(wanted), backend="cpu")
    found = refine(scan, Preset.from_mapping({**wanted, "update_detector_psf": True}), backend="cpu")
    assert "point spread" in found.backend
    # some 600 000 displaced electrons determine it to 0.1 %; rounding to pixels makes it not quite Gaussian
    assert found.refined.detector_psf_px == pytest.approx(true_px, rel=0.05)
    assert found.loss[-1] < without.loss[-1]
    assert without.refined.detector_psf_px is None


def test_what_is_off_leaves_the_plain_model(simulated):
    problem = prepared(simulated.dataset)
    assert problem.multislice.model is None
    assert problem.forward.instrument.point_spread() is None


def test_a_measured_spread_lies_where_the_file_has_it(small, tmp_path):
    image = np.zeros((3, 5))
    image[1, 2], image[2, 2], image[1, 4] = 6, 3, 1
    np.save(tmp_path / "spread.npy", image)
    spread = prepared(small.dataset, detector_psf=str(tmp_path / "spread.npy")).multislice.model.spread
    assert spread.variance_px2 == 0
    expected = np.zeros((24, 24), np.float32)
    expected[0, 0], expected[1, 0], expected[0, 2] = 0.6, 0.3, 0.1
    np.testing.assert_allclose(spread.image, expected, atol=1e-7)  # single precision


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (np.ones((25, 3)), "detector_psf"),
        (np.ones(5), "detector_psf"),
        (np.zeros((3, 3)), "is not a point spread"),
        (np.diag([9.0, -1.0, 1.0]), "is not a point spread"),
        (np.full((3, 3), np.nan), "is not a point spread"),
        (np.ones((3, 3), complex), "holds c"),
    ],
)
def test_files_that_are_no_point_spread_are_refused(small, tmp_path, values, line):
    np.save(tmp_path / "spread.npy", values)
    with pytest.raises(MetadataError, match=line):
        prepared(small.dataset, detector_psf=str(tmp_path / "spread.npy"))


def test_a_file_that_is_not_there_is_named(small, tmp_path):
    with pytest.raises(MetadataError, match=r"detector_psf .*none\.npy"):
        prepared(small.dataset, detector_psf=str(tmp_path / "none.npy"))


def test_a_width_is_refined_from_the_given_one(small):
    assert prepared(small.dataset, update_detector_psf=True).forward.instrument.first_psf_px == FIRST_PSF_PX
    given = prepared(small.dataset, update_detector_psf=True, detector_psf_px=1.5)
    assert given.multislice.model.spread.variance_px2 == pytest.approx(2.25)


@pytest.mark.parametrize("blur", [{"source_blur_A": 0.3}, {"fly_scan_share": 1.0}])
def test_a_blur_is_modes_of_the_compiled_backend(small, blur):
    """The result's probe is the sharp one; the backend sees all of its light in more modes."""
    problem = prepared(small.dataset, probe_modes=2, **blur)
    layout = problem.layout
    seen = layout.probe_planes(problem.start, np)
    assert problem.multislice.model is None
    assert layout.modes == 2 < seen.shape[1]
    assert (seen**2).sum() == pytest.approx((layout.probe_block(problem.start) ** 2).sum(), rel=1e-5)  # float32
    result = refine(small.dataset, Preset.from_mapping({**PLAIN, **blur, "epoch_max": 2, "sweeps": 1}))
    assert result.probe.shape == (1, 1, 24, 24)
    assert result.backend == "cpu (scipy)", "its window of 24 pixels is none that is compiled"


def test_a_blurred_source_is_not_in_the_start_modes_too(small):
    """Without focal spread all of the start's light is in one mode."""
    given = {"probe_modes": 3, "focal_spread_A": 0.0}
    for blur, one in ((0.0, False), (0.3, True)):
        start = prepared(small.dataset, source_blur_A=blur, **given).layout.probe.start
        powers = (np.abs(start) ** 2).sum((1, 2))
        assert bool(powers.max() > 0.9999 * powers.sum()) is one


@pytest.mark.parametrize("name", ["source_blur_A", "fly_scan_share"])
def test_blurs_of_the_probe_have_no_meaning_for_images(small, name):
    near = {"recon_type": "near_field", "image_pixel_A": 0.5, "defocus_array_A": [100.0]}
    with pytest.raises(MetadataError, match=f"{name} has no meaning in the near field"):
        prepared(small.dataset, update_probe=False, **near, **{name: 0.5})


def test_penalties_are_of_the_sharp_probe(small):
    """Modes of a blur are not kept orthogonal to each other."""
    problem = prepared(small.dataset, source_blur_A=0.3, probe_orthogonality_weight=1.0)
    assert len(problem.terms) == 0, "a probe of one mode is orthogonal to nothing"
    both = prepared(small.dataset, source_blur_A=0.3, probe_modes=2, probe_orthogonality_weight=1.0)
    values = [
        both.terms[0].add(layout, both.start, np.zeros_like(both.start), np)
        for layout in (both.layout, both.layout.sharp)
    ]
    assert values[0] == values[1]


def test_what_a_varying_probe_cannot_go_with_is_refused(small):
    near = {"recon_type": "near_field", "image_pixel_A": 0.5, "defocus_array_A": [100.0], "update_probe": False}
    with pytest.raises(MetadataError, match="opr_components has no meaning in the near field"):
        prepared(small.dataset, opr_components=1, **near)
    with pytest.raises(MetadataError, match="opr_components and probe_marker"):
        prepared(small.dataset, opr_components=1, probe_marker="rows:2")


def test_a_varying_probe_is_refined_and_gone_on_with(simulated):
    wanted = {**PLAIN, "opr_components": 2, "epoch_max": 12, "sweeps": 8}
    result = refine(simulated.dataset, Preset.from_mapping(wanted), backend="cpu")
    components, coefficients = result.refined.opr_components, result.refined.opr_coefficients
    assert components.shape == (2, 24, 24)
    assert coefficients.shape == (144, 2)
    assert "a probe that varies" in result.backend
    powers = (np.abs(components) ** 2).sum((1, 2))
    np.testing.assert_allclose(powers, (np.abs(result.probe[0, 0]) ** 2).sum(), rtol=1e-4)  # float32
    problem = WarmStart.of(result).applied(prepared(simulated.dataset, **wanted))
    expected = np.fft.ifft2(problem.layout.components(problem.start), norm="ortho")
    np.testing.assert_allclose(expected, components, atol=1e-4)
    given = problem.layout.other_blocks(problem.start)[BlockName.OPR_COEFFICIENTS]
    np.testing.assert_allclose(given, coefficients, atol=1e-6)  # float32


def test_components_stay_where_the_probe_is_not_refined(small):
    problem = prepared(small.dataset, opr_components=2, update_probe=False)
    components, coefficients = problem.layout.blocks
    assert np.isinf(components.curvature).all()
    assert np.isfinite(coefficients.curvature).all()


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"aberration_marker": "rows:2", "aberrations_array_A": [[1.0], [2.0]]}, "field_order and"),
        ({"update_aberrations": True}, "field_order and"),
        ({"field_terms": ["tilts"]}, "tilt_mode = 0"),
        ({"field_terms": ["thickness"]}, "thickness of a single slice"),
        ({"field_terms": ["tilts"], "tilt_mode": 3}, "tilt_mode = 3"),
        ({"field_terms": ["tilts"], "tilt_mode": 2, "update_tilts": True}, "and update_tilts exclude"),
        (
            {"recon_type": "near_field", "image_pixel_A": 0.5, "defocus_array_A": [100.0], "update_probe": False},
            "no meaning in the near field",
        ),
    ],
)
def test_what_a_field_cannot_go_with_is_refused(small, values, line):
    with pytest.raises(MetadataError, match=line):
        prepared(small.dataset, field_order=1, **values)


def test_only_what_can_vary_is_taken():
    with pytest.raises(MetadataError, match="cannot vary over the field"):
        Preset.from_mapping({"field_terms": ["probe"]})


@pytest.mark.slow
def test_a_defocus_that_does_not_vary_is_found_not_to(simulated):
    wanted = {**PLAIN, "field_order": 1, "epoch_max": 20, "sweeps": 8}
    refined = refine(simulated.dataset, Preset.from_mapping(wanted), backend="cpu").refined
    assert refined.aberration_names == ("C10",)
    assert refined.aberrations_A.shape == (144, 1)
    # each of 144 patterns of 4000 counts determines its defocus to some 10 Å, so two coefficients are known to 1 Å
    assert np.abs(refined.aberrations_A).max() < 4.0
