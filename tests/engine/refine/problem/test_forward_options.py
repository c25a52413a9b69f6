"""The forward model as configured by a preset: derivatives of the whole objective, and every feature in use."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.probe import Probe
from ptylive.engine.refine import refine
from ptylive.engine.refine.parameters.band_limit import band_limit
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema import MetadataError, PtyliveError
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.preset import Preset

PLAIN = {"window_px": 24, "probe_modes": 1}
SHORT = {"epoch_max": 10, "sweeps": 5, "refine_drift": False, "phase_deviation": False}
SIZES = {BlockName.TILTS: 0.2, BlockName.BACKGROUND: 0.1}
"""Size of a random change along which a derivative is taken."""
EACH_TILT = [[1.0, -0.5, 2.0, 0.3, -1.0, 0.2 * (n % 7)] for n in range(144)]


def correlation(result, specimen):
    """Correlation of the object found with the specimen: 0.98 and more with these epochs; required are 0.85 or 0.9."""
    phase = np.angle(result.object[0]).sum(0)
    rows, columns = (np.arange(phase.shape[i]) * result.object_sampling_A[i] + result.origin_A[i] for i in (0, 1))
    low, high = result.positions_A.min(0) + 2, result.positions_A.max(0) - 2
    inside = np.ix_((rows > low[0]) & (rows < high[0]), (columns > low[1]) & (columns < high[1]))
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.corrcoef(phase[inside].ravel(), specimen.phase(y, x)[inside].ravel())[0, 1]


def run(dataset, **values):
    return refine(dataset, Preset.from_mapping({**PLAIN, **SHORT, **values}), backend="cpu")


@pytest.mark.parametrize(
    "values",
    [
        {"tilt_mode": 4, "tilts_mrad": EACH_TILT, "num_slices": 3, "total_thickness_A": 30.0},
        {"tilt_mode": 3, "tilts_mrad": [[1, 2, 3, 4, 5, 6]], "num_slices": 2, "total_thickness_A": 30.0},
        {"tilt_mode": 2, "phase_only_obj": True},
        {"aberration_marker": "rows:3", "update_aberrations": True, "aberrations_array_A": [[5.0, 1.0], [2.0], [-4.0]]},
        {"probe_marker": "columns:2", "probe_modes": 2, "update_aberrations": True},
        {
            "damping_cutoff_multislice": 0.7,
            "smooth_rolloff": 0.1,
            "weakly_damped_obj": True,
            "update_aberrations": True,
        },
        {"upsample_pattern": 2, "update_static_background": True},
        {"propmethod": "yoshida", "num_slices": 2, "total_thickness_A": 30.0, "update_slice_distances": True},
        {"num_slices": 3, "total_thickness_A": 30.0, "update_thickness": True, "update_aberrations": True},
        pytest.param(
            {"source_blur_A": 0.3, "fly_scan_share": 1.0, "probe_modes": 2, "update_aberrations": True},
            marks=pytest.mark.slow,
        ),
        {"source_blur_A": 0.3, "damping_cutoff_multislice": 0.7, "probe_part": "amplitude", "probe_marker": "rows:2"},
        {"opr_components": 2, "probe_modes": 2, "source_blur_A": 0.2, "num_slices": 2, "total_thickness_A": 30.0},
        {"field_order": 2, "field_terms": ["C10", "tilts", "C21a"], "tilt_mode": 2, "opr_components": 1},
        {"field_order": 1, "field_terms": ["tilts"], "tilt_mode": 1, "tilts_mrad": EACH_TILT},
        {"field_order": 1, "field_terms": ["C10", "thickness"], "num_slices": 3, "total_thickness_A": 30.0},
        {"detector_psf_px": 0.7, "update_detector_psf": True, "update_static_background": True},
    ],
    ids=[
        "every tilt",
        "one tilt",
        "aperture",
        "groups",
        "probes",
        "band",
        "upsampled",
        "yoshida",
        "thickness",
        "blur",
        "limited blur",
        "varying",
        "field",
        "field of tilts",
        "wedge",
        "point spread",
    ],
)
def test_gradient_of_the_objective(simulated, values):
    """Along each block of the vector in double precision, as the optimisers see it."""
    preset = {
        **PLAIN,
        "update_tilts": "tilt_mode" in values and "field_order" not in values,
        "loss_offset": 0.1,
        **values,
    }
    few = np.array([0, 5, 40, 77, 100, 143])
    dataset = simulated.dataset
    part = replace(
        dataset, patterns=dataset.patterns[few], point=dataset.point[few], positions_A=dataset.positions_A[few]
    )
    setup = prepare(part, Preset.from_mapping(preset), None)
    layout, rng = setup.layout, np.random.default_rng(0)
    objective = Objective(
        GeneralMultislice(setup.multislice, np, "complex128", "double"), layout, setup.multislice.count
    )
    vector, scale = setup.start.astype(np.float64), np.full(layout.size, 0.05)
    scale[layout.object_size : layout.object_size + layout.probe_size] *= np.abs(layout.probe_block(vector)).max()
    for block in layout.blocks:
        layout.other_blocks(scale)[block.name][...] = {BlockName.TILTS: 0.2, BlockName.BACKGROUND: 0.1}.get(
            block.name, 1
        )
    vector += scale * rng.random(vector.size)
    gradient = objective.evaluate(vector).gradient
    ends = np.cumsum([layout.object_size, layout.probe_size, *(b.start.size for b in layout.blocks)])
    for part_of_vector in np.split(np.arange(vector.size), ends[:-1]):
        direction = np.zeros(vector.size)
        direction[part_of_vector] = scale[part_of_vector] * rng.normal(size=len(part_of_vector))
        at = [objective.evaluate(vector + k * 3e-3 * direction).loss for k in (-2, -1, 1, 2)]
        expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * 3e-3)
        assert gradient @ direction == pytest.approx(expected, rel=1e-6)  # truncation: the fourth power of 3e-3


def test_a_tilted_beam_is_found(simulated):
    """Tilts assigned to a straight beam return to 0."""
    result = run(
        simulated.dataset, tilt_mode=2, tilts_mrad=[[4.0, -3.0, 0, 0, 0, 0]], update_tilts=True, update_probe=False
    )
    assert np.abs(result.refined.tilts_mrad[0, :2]).max() < 0.5  # from 4 and 3; found within 0.02
    assert result.refined.tilts_mrad.shape == (1, 6)


def test_a_fixed_tilt_of_the_specimen_stays_with_the_compiled_kernel(simulated):
    thick = {**PLAIN, "num_slices": 2, "total_thickness_A": 20.0}
    straight, tilted = (
        prepare(
            simulated.dataset, Preset.from_mapping({**thick, "tilts_mrad": [[0, 0, mrad, 0, 0, 0]]}), None
        ).multislice
        for mrad in (0.0, 5.0)
    )
    assert tilted.model is None
    q = np.fft.fftfreq(24, 1 / 2.4)
    expected = straight.propagators * np.exp(2j * np.pi * 10.0 * 5e-3 * q)[:, None]
    np.testing.assert_allclose(tilted.propagators, expected, atol=1e-9)


@pytest.mark.slow
def test_aberrations_of_parts_of_the_scan_are_found(simulated):
    """The scan had a single defocus; wrong additions in its two halves are removed."""
    result = run(
        simulated.dataset,
        aberration_marker="rows:2",
        aberrations_array_A=[[25.0], [-25.0]],
        update_aberrations=True,
        refined_aberrations=["C10"],
        update_probe=False,
        epoch_max=40,
    )
    assert result.refined.aberration_names == ("C10",)
    assert np.abs(result.refined.aberrations_A).max() < 8.0  # from 25; found within 2


def test_each_part_of_the_scan_may_have_its_own_probe(simulated):
    result = run(simulated.dataset, probe_marker="rows:2", epoch_max=24)
    assert result.probe.shape == (2, 1, 24, 24)
    powers = (np.abs(result.probe) ** 2).sum((1, 2, 3))
    # the rows left out are dark
    np.testing.assert_allclose(powers, simulated.dataset.patterns[:, 4:].sum((1, 2)).mean(), rtol=0.01)
    assert np.abs(np.vdot(result.probe[0], result.probe[1])) / np.sqrt(powers.prod()) > 0.9
    assert correlation(result, simulated.specimen) > 0.9


def test_parts_of_the_scan_that_a_subset_misses_keep_their_probe(simulated):
    """Trials use some patterns only; a probe without any of them is still present."""
    dataset, few = simulated.dataset, np.arange(40)
    part = replace(
        dataset, patterns=dataset.patterns[few], point=dataset.point[few], positions_A=dataset.positions_A[few]
    )
    assert run(part, probe_marker="rows:4", epoch_max=2, sweeps=1).probe.shape == (4, 1, 24, 24)


def test_phase_plates_take_the_place_of_aberrations(simulated, tmp_path):
    """A defocus given as a plate for each pattern, with a calibration in focus, gives the same loss."""
    dataset = simulated.dataset
    preset = Preset.from_mapping({**PLAIN, "loss_offset": 0.1})
    setup = prepare(dataset, preset, None)
    window = setup.forward.window
    chi = Probe.of(setup.forward.wavelength_A, 1.0, 1.0, {"C10": -60.0}).chi(window.k_row, window.k_col)
    with h5py.File(tmp_path / "plates.h5", "w") as file:
        file["configs"] = np.repeat(np.fft.fftshift(np.exp(-1j * chi))[None], 144, axis=0)
    focused = dataset.calibration.having(C10=replace(dataset.calibration.entries["C10"], value=0.0))
    values = {"loss_offset": 0.1, "epoch_max": 1, "sweeps": 1}
    plated = run(replace(dataset, calibration=focused), phase_plate_in_h5=str(tmp_path / "plates.h5"), **values)
    defocused = run(dataset, **values)
    assert "phase plates" in plated.backend
    assert plated.loss[0] == pytest.approx(defocused.loss[0], rel=1e-4)  # plates are kept in single precision
    with pytest.raises(MetadataError, match="configs has shape"):
        run(dataset, phase_plate_in_h5=str(tmp_path / "plates.h5"), window_px=26)
    with pytest.raises(MetadataError, match="phase_plate_in_h5"):
        run(dataset, phase_plate_in_h5=str(tmp_path / "none.h5"))


def test_mirrored_and_shifted_patterns_are_put_right(simulated):
    dataset = simulated.dataset
    plain = run(dataset)
    centre = np.array([23 - dataset.beam_center_px[0], dataset.beam_center_px[1]])
    mirrored = replace(
        dataset, patterns=dataset.patterns[:, ::-1], bad_pixels=dataset.bad_pixels[::-1], beam_center_px=centre
    )
    # the same numbers up to rounding
    np.testing.assert_allclose(run(mirrored, flip_ky=True).loss, plain.loss, rtol=1e-5)
    shifted = replace(dataset, beam_center_px=dataset.beam_center_px + np.array([2.0, -1.5]))
    np.testing.assert_allclose(run(shifted, data_shift_vector_px=(2.0, -1.5)).loss, plain.loss, rtol=1e-5)


def test_an_upsampled_model_sees_the_same_object(simulated):
    result = run(simulated.dataset, upsample_pattern=2)
    assert result.probe.shape[-1] == 48
    assert result.object_sampling_A[0] == pytest.approx(1 / 2.4)
    assert correlation(result, simulated.specimen) > 0.9


def test_band_limits_hold_and_may_be_lazy(simulated):
    limited = run(simulated.dataset, damping_cutoff_multislice=0.6, phase_only_obj=False)
    lazy = run(simulated.dataset, damping_cutoff_multislice=0.6, phase_only_obj=False, lazy_clean=True)
    for result, clean in ((limited, True), (lazy, False)):
        spectrum = np.abs(np.fft.fft2(result.object[0, 0]))
        beyond = band_limit(spectrum.shape, 0.6, 0.0) == 0
        assert bool(spectrum[beyond].max() < 1e-4 * spectrum.max()) is clean  # up to single precision
    np.testing.assert_array_equal(limited.probe.shape, lazy.probe.shape)


def test_the_band_limit_is_the_formula():
    mask = band_limit((32, 32), 0.6, 0.2)
    q = np.hypot(*np.meshgrid(2 * np.fft.fftfreq(32), 2 * np.fft.fftfreq(32), indexing="ij"))
    assert (mask[q <= 0.4] == 1).all()
    assert (mask[q >= 0.6] == 0).all()
    edge = (q > 0.4) & (q < 0.6)
    expected = 0.5 * (1 + np.cos(np.pi * (q**2 - 0.4**2) / (0.6**2 - 0.4**2)))
    np.testing.assert_allclose(mask[edge], expected[edge], atol=1e-6)  # stored in single precision


@pytest.mark.slow
@pytest.mark.parametrize("propmethod", quick_first(["better_multislice", "yoshida"]))
def test_split_steps_of_higher_order_find_the_object(simulated, propmethod):
    result = run(simulated.dataset, propmethod=propmethod, num_slices=2, total_thickness_A=4.0, phase_only_obj=True)
    assert f"split step {propmethod}" in result.backend
    assert correlation(result, simulated.specimen) > 0.85


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"tilts_mrad": [[0] * 6] * 5}, "tilts_mrad has 5 entries"),
        ({"probe_marker": [0, 1]}, "probe_marker has 2 entries"),
        ({"aberrations_array_A": [[1.0], [2.0]]}, "give aberration_marker too"),
        ({"aberration_marker": "rows:2"}, "aberration_marker without aberrations"),
        ({"aberration_marker": "rows:2", "aberrations_array_A": [[1.0]] * 3}, "aberrations_array_A has 3 lists"),
        ({"algorithm": "lsq_compressed"}, "compares coefficients"),
    ],
)
def test_what_does_not_fit_is_refused(simulated, values, line):
    with pytest.raises(PtyliveError) as error:
        run(simulated.dataset, **values)
    assert line in error.value.line()


def test_given_aberrations_of_all_patterns_move_the_start(simulated):
    given = prepare(simulated.dataset, Preset.from_mapping({**PLAIN, "aberrations_array_A": [[12.0, 3.0]]}), None)
    calibration = simulated.dataset.calibration
    entry = calibration.entries["C10"]
    changed = calibration.having(C10=replace(entry, value=entry.value + 12.0), C12a=replace(entry, value=3.0))
    other = prepare(replace(simulated.dataset, calibration=changed), Preset.from_mapping(PLAIN), None)
    # values up to 6 in single precision
    np.testing.assert_allclose(given.layout.probe.start, other.layout.probe.start, atol=1e-4)
    assert ABERRATION_NAMES[:2] == ("C10", "C12a")
