"""Refinement directly from coefficients: the input of the backend, and whether the object is found.

An object counts as found if it correlates with the specimen by 0.85; these coefficients and epochs give 0.93 to 0.98.
"""

from dataclasses import replace

import numpy as np
import pytest
from compressed_scans import compressed
from quick_first import quick_first

from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.forward.comparison import Coefficients as Compared
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTerm
from ptylive.engine.refine import refine, validate
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.schema import MetadataError, RefinementError
from ptylive.schema.preset import Preset

PLAIN = {"window_px": 24, "probe_modes": 1, "epoch_max": 16, "sweeps": 8}
REGULARISED = {"probe_reg_constraint_weight": 1.0}


def correlation(result, specimen):
    phase = np.angle(result.object[0]).sum(0)
    rows, columns = (np.arange(phase.shape[i]) * result.object_sampling_A[i] + result.origin_A[i] for i in (0, 1))
    low, high = result.positions_A.min(0) + 2, result.positions_A.max(0) - 2
    inside = np.ix_((rows > low[0]) & (rows < high[0]), (columns > low[1]) & (columns < high[1]))
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.corrcoef(phase[inside].ravel(), specimen.phase(y, x)[inside].ravel())[0, 1]


def comparison(parts):
    """Least-squares comparison of coefficients in double precision."""
    return Compared(ArrayKit(np, np.dtype("complex128")), DataTerm(CoefficientTermKind.LEAST_SQUARES, 0.0), parts)


def run(dataset, **values):
    return refine(dataset, Preset.from_mapping({**PLAIN, **values}), backend="cpu")


@pytest.mark.parametrize(
    ("basis", "values"),
    quick_first(
        [
            ("data:15+1", {}),
            ("binning:45+1", {"algorithm": "gauss_compressed"}),
            ("binning:45+1", {"algorithm": "poisson_compressed"}),
            ("zernike:45+1:sqrt", {"perpendicular_weight": 1e-4, "edge_weight": 1e-3, **REGULARISED}),
            ("zernike:45+1", {}),
            ("zernike:45+1", {"noise_weighting": False}),
            ("zernike:45+1:sqrt", {}),
        ],
        4,
    ),
)
def test_every_loss_finds_the_object(simulated, basis, values):
    dataset, ratio = compressed(simulated.dataset, basis)
    result = run(dataset, **values)
    assert ratio > 10
    assert "for coefficients" in result.backend
    assert result.algorithm == values.get("algorithm", "sqrt_compressed" if "sqrt" in basis else "lsq_compressed")
    assert correlation(result, simulated.specimen) > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zernike", "binning", "data"])
def test_more_masks_make_a_better_object(simulated, kind):
    """The trend reported in the paper, on a defocused scan."""
    found = [
        correlation(run(compressed(simulated.dataset, f"{kind}:{n}+1")[0]), simulated.specimen) for n in (6, 15, 45)
    ]
    assert found == sorted(found)


def test_the_mean_pattern_is_that_of_the_coefficients(simulated):
    dataset, _ = compressed(simulated.dataset, "zernike:45+1")
    setup = prepare(dataset, Preset.from_mapping(PLAIN), None)
    frames = np.where(simulated.dataset.bad_pixels, 0, simulated.dataset.patterns)
    # sums are sent as well
    assert setup.statistics.counts_per_pattern == pytest.approx(frames.sum((1, 2)).mean(), rel=1e-5)
    assert setup.multislice.count == len(frames)
    assert setup.multislice.patterns.strides[0] == 0  # one mean pattern, not a copy for each


def test_a_perfect_model_has_no_loss(simulated):
    """Coefficients of frames are compared with the frames themselves, every window pixel in its place."""
    dataset, _ = compressed(simulated.dataset, "zernike:45+1")
    setup = prepare(dataset, Preset.from_mapping({**PLAIN, "edge_weight": 0.0}), None)
    plain = prepare(simulated.dataset, Preset.from_mapping(PLAIN), None)
    compared = comparison(setup.multislice.model.compressed)
    batch = np.arange(5)
    loss, derivative = compared.compare(np.asarray(plain.multislice.patterns[batch], dtype=float), batch)
    # coefficients up to 1e3 in single precision, 1e-4 off, in units of their noise; the loss contains their squares
    assert loss < 1e-5
    assert np.abs(derivative).max() < 1e-3


def test_weighting_makes_a_misfit_of_noise_cost_as_much_as_in_the_amplitude_loss(simulated):
    """Fresh counts around the mean cost a quarter for each coefficient."""
    dataset, _ = compressed(simulated.dataset, "zernike:45+1")
    setup = prepare(dataset, Preset.from_mapping(PLAIN), None)
    parts = setup.multislice.model.compressed
    mean = np.maximum(np.asarray(setup.multislice.patterns[:144], dtype=float), 0)
    exact = replace(parts, values=(mean.reshape(144, -1) @ parts.masks.T).astype(np.float32))
    scattered = np.random.default_rng(1).poisson(mean).astype(float)
    loss, _ = comparison(exact).compare(scattered, np.arange(144))
    scatter = np.sqrt(2 / (144 * len(parts.masks)))  # mean of as many squares
    assert loss / 144 == pytest.approx(len(parts.masks) / 4, rel=4 * scatter)


@pytest.mark.parametrize(
    ("basis", "algorithm", "line"),
    [
        ("zernike:45+1", "lsq_sqrt", "compares patterns, and the recording holds"),
        ("zernike:45+1", "poisson_compressed", "needs masks and coefficients at or above 0"),
        ("zernike:45+1", "sqrt_compressed", "is not suitable for coefficients of intensities"),
        ("zernike:45+1:sqrt", "lsq_compressed", "is not suitable for coefficients of square roots"),
    ],
)
def test_losses_that_do_not_fit_are_refused(simulated, basis, algorithm, line):
    dataset, _ = compressed(simulated.dataset, basis)
    with pytest.raises(RefinementError) as raised:
        run(dataset, algorithm=algorithm)
    assert line in raised.value.line()


@pytest.mark.parametrize("change", ["equal", "scaled", "empty", "cut off"])
def test_noise_of_masks_that_depend_on_each_other_is_not_weighted(simulated, change):
    """``cut off``: the outer masks have no pixel in a small window. All of these raised numpy's LinAlgError."""
    dataset, _ = compressed(simulated.dataset, "binning:45+1")
    masks = dataset.masks.copy()
    masks[3] = {"equal": masks[4], "scaled": np.float32(1.7) * masks[4], "empty": 0.0, "cut off": masks[3]}[change]
    preset = {**PLAIN, "window_px": 12 if change == "cut off" else 24}
    with pytest.raises(RefinementError, match="the masks depend on each other in the window"):
        prepare(replace(dataset, masks=masks), Preset.from_mapping(preset), None)
    unweighted = Preset.from_mapping({**preset, "noise_weighting": False})
    assert prepare(replace(dataset, masks=masks), unweighted, None).multislice.model.compressed.whitening is None


@pytest.mark.parametrize("kind", CoefficientTermKind)
def test_every_loss_of_coefficients_has_a_curvature(simulated, kind):
    rooted = ":sqrt" if kind is CoefficientTermKind.ROOT else ""
    dataset, _ = compressed(simulated.dataset, f"binning:15+1{rooted}")
    strategy = prepare(dataset, Preset.from_mapping({**PLAIN, "algorithm": str(kind)}), None).strategy
    assert strategy.kind is kind and 0 < strategy.curvature_scale < np.inf


def test_where_only_the_bright_field_is_looked_at_dark_masks_are_left_out(simulated):
    dataset, _ = compressed(simulated.dataset, "zernike:45+3")
    setup = prepare(dataset, Preset.from_mapping({**PLAIN, "bright_field_only": True}), None)
    assert setup.multislice.model.compressed.masks.shape == (45, 24 * 24)
    assert correlation(run(dataset, bright_field_only=True), simulated.specimen) > 0.85


def test_perpendicular_lengths_must_have_been_recorded(simulated):
    dataset, _ = compressed(simulated.dataset, "zernike:45+1")
    bare = replace(dataset, patterns=dataset.patterns[:, :46], basis=dataset.basis.model_copy(update={"extra": ()}))
    with pytest.raises(MetadataError, match="perp_bright"):
        run(bare, perpendicular_weight=1.0)
    assert correlation(run(bare), simulated.specimen) > 0.85


def test_mirrored_masks_are_put_right(simulated):
    dataset, _ = compressed(simulated.dataset, "zernike:45+1")
    centre = np.array([23 - dataset.beam_center_px[0], dataset.beam_center_px[1]])
    mirrored = replace(
        dataset, masks=dataset.masks[:, ::-1], bad_pixels=dataset.bad_pixels[::-1], beam_center_px=centre
    )
    np.testing.assert_allclose(run(mirrored, flip_ky=True).loss, run(dataset).loss, rtol=1e-4)  # up to rounding


@pytest.mark.slow
def test_halves_and_shuffled_coefficients_are_compared(simulated):
    dataset, _ = compressed(simulated.dataset, "zernike:45+1")
    judged = validate(dataset, Preset.from_mapping({**PLAIN, "epoch_max": 4}))
    assert np.isfinite(judged.halves).all()


@pytest.mark.parametrize("noise_weighting", [True, False])
def test_a_weight_of_lengths_far_beyond_their_noise_is_refused(simulated, noise_weighting):
    """Regression: with a weight of 1 on coefficients of intensities, no step of any sweep lowered the loss."""
    dataset, _ = compressed(simulated.dataset, "zernike:21+3")
    values = {**PLAIN, "noise_weighting": noise_weighting, "perpendicular_weight_dark": 0.0}
    with pytest.raises(MetadataError, match=r"perpendicular_weight\) outweighs the coefficients") as refused:
        prepare(dataset, Preset.from_mapping({**values, "perpendicular_weight": 1e9}), None)
    advised = float(refused.value.hint.removeprefix("give about ").split(",")[0])
    problem = prepare(dataset, Preset.from_mapping({**values, "perpendicular_weight": advised}), None)
    assert len(problem.multislice.model.compressed.perpendicular) == 1
    rooted, _ = compressed(simulated.dataset, "zernike:21+3:sqrt")
    prepare(rooted, Preset.from_mapping({**PLAIN, "perpendicular_weight": 1.0}), None)


def test_bright_and_dark_perpendicular_lengths_have_weights_of_their_own(simulated):
    """Without a second number both use the first; 0 leaves a part out."""
    dataset, _ = compressed(simulated.dataset, "zernike:21+3")

    def weights(**values):
        problem = prepare(dataset, Preset.from_mapping({**PLAIN, **values}), None)
        return [(len(one.masks), one.weight) for one in problem.multislice.model.compressed.perpendicular]

    assert weights(perpendicular_weight=2e-6) == [(21, 2e-6), (3, 2e-6)]
    assert weights(perpendicular_weight=2e-6, perpendicular_weight_dark=5e-6) == [(21, 2e-6), (3, 5e-6)]
    assert weights(perpendicular_weight=2e-6, perpendicular_weight_dark=0.0) == [(21, 2e-6)]
    assert weights(perpendicular_weight_dark=5e-6) == [(3, 5e-6)]
    assert weights() == []
