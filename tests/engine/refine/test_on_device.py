"""Whole refinements on a device as strict as cupy: the same course as on numpy arrays."""

from dataclasses import replace
from functools import partial
from itertools import count
from types import ModuleType

import numpy as np
import pytest
from compressed_scans import compressed
from device_kernels import fused, fused_general
from quick_first import quick_first
from strict_device import ON_CARD, device
from tilted_scans import TiltedScans

from ptylive.engine.backend.multislice import gpu
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import MultisliceBackend, MultisliceProblem
from ptylive.engine.refine import TrialContext, check, measure_curve, refine, validate
from ptylive.engine.refine.parameters.constraint import Constraints
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.solvers.sweeps import Sweeps
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS, choose_modes
from ptylive.engine.refine.tuning.parameter_search import Scanned
from ptylive.schema.preset import Preset

COUNT, SLOW = 64, pytest.mark.slow
"""Number of patterns in the scan; failures on a device show with few patterns as well."""
PLAIN = {"window_px": 24, "probe_modes": 1, "epoch_max": 3, "sweeps": 1, "phase_deviation": False}
DEVIATION = {"phase_deviation": True}
"""Measured after a run, from evaluations that a run makes too; slower than these runs, so it is not done after each."""
THICK = {"num_slices": 2, "total_thickness_A": 20.0}


def arrays(xp: ModuleType, problem: MultisliceProblem) -> MultisliceBackend:
    """Like ``gpu.opened`` without its kernels."""
    if problem.model is not None:
        return GeneralMultislice(problem, xp, "complex64", "gpu")
    return GeneralMultislice(problem, xp, "complex64", name="gpu")


@pytest.fixture
def both(monkeypatch):
    """Call a function with numpy behind the GPU's backend, then with the device; return both results."""

    def call(function):
        found = []
        for xp in (np, device):
            monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "")
            monkeypatch.setattr(gpu, "too_small", lambda problem: "")
            monkeypatch.setattr(gpu, "opened", partial(arrays, xp))
            device.traffic.reset()
            found.append(function())
        assert device.traffic.to_device > 0
        return found

    return call


def run(dataset, **values):
    return refine(dataset, Preset.from_mapping({**PLAIN, **values}), backend="gpu")


OF_CARD = 2e-3
"""Relative to a loss. Transforms of a card round differently, and where counts lie outside the aperture of a course
that begins without a source, the first step follows the phase of rounding errors: 8e-4 found."""


def same_course(results, rtol=1e-5):
    """Equal arithmetic but for the order of a few sums: 1e-7 of a loss, more of an object in faint light.

    Thresholds and quasi-Newton steps magnify the difference: 2e-6 found."""
    if ON_CARD:
        rtol = max(rtol, OF_CARD)
    host, there = results
    assert there.state == host.state == "done"
    assert there.backend == "gpu"
    assert there.phases == host.phases
    np.testing.assert_allclose(there.loss, host.loss, rtol=rtol)
    assert there.object.dtype == there.probe.dtype == np.complex64
    assert np.abs(there.object - host.object).max() < 0.05
    assert (there.phase_deviation is None) == (host.phase_deviation is None)
    if host.phase_deviation is not None:
        # a median of what is measured where both ended: as close as the losses, and on a card not known to be closer
        expected = pytest.approx(host.phase_deviation.median_rad, rel=0.05 if ON_CARD else rtol)
        assert there.phase_deviation.median_rad == expected


LAYERS = {**THICK, "phase_only_obj": False}
OTHERS = {"update_probe_pos": True, "update_beam_current": True, "update_static_background": True}
WEIGHTS = {
    "atv_weight": 0.5,
    "atv_q": 1.5,  # with 1, flat places follow the sign of their rounding errors: 4e-5 of a loss
    "phase_norm_weight": 0.1,
    "probe_reg_constraint_weight": 1.0,
    "window_weight": 0.1,
    "fast_axis_reg_weight_positions": 1.0,
    "slow_axis_reg_weight_positions": 1.0,
    "deformation_reg_weight_positions": 0.1,
}
LIMITED = {"probe_part": "phase", "damping_cutoff_multislice": 0.7}
TILTED = {"tilts_mrad": [[0] * 6] * COUNT, "update_tilts": True}
CLEANED = {"identical_slices": "epoch < 3", "obja_thresh": True, "obj_zblur_A": 5.0, "q_highpass_invA": 0.05}
FLIPS = {"do_charge_flip": "epoch == 1", "fancy_sigma_phase_px": (1.5, 1.0)}
MODES = {"keep_probe_states_orthogonal": True, "probe_modes": 2}


@pytest.mark.parametrize(
    "values",
    quick_first(
        [
            {"algorithm": "lsq_sqrt_2", "phase_only_obj": False, **DEVIATION},
            {"algorithm": "ml", "probe_modes": 3, "update_probe_pos": True, "position_prior_A": 0.1},
            {**OTHERS, "phase_only_obj": False},
            {**THICK, "update_slice_distances": True, "obj_modes": 2, "probe_modes": 2},
            {"probe_part": "phase", "update_aberrations": True},
            {"early_stop": True, "sweeps": 10, "epoch_max": 12},
            {"optimizer": "pypty", "sweeps": 0, **OTHERS},
            {"optimizer": "epie", "batch_size": 16, "probe_modes": 2, **THICK},
            {"optimizer": "lsq_ml", "batch_size": 16, "probe_modes": 2},
            {"optimizer": "adam", "batch_size": 16, "update_probe_pos": True},
            {**WEIGHTS, **LAYERS, "missing_wedge_weight": 0.1, "mixed_variance_weight": 0.1},
            {**LAYERS, **CLEANED, "layers_tikhonov_weight": 0.1, "layers_tv_weight": 0.1, "surface_zero_weight": 0.1},
            {**LAYERS, "complex_ratio": True, "kz_filter_beta": 0.2, "obj_z_recenter": True, "objp_postiv": True},
            {"weakly_damped_obj": True, "obja_thresh": True, "mirrored_amp": True, "abs_norm_weight": 0.1},
            {"algorithm": "lsq", "probe_part": "amplitude"},
            {**THICK, "update_slice_distances": True, "obj_modes": 2, "probe_modes": 2, **DEVIATION},
            {"sweeps": 0, "epoch_max": 6, "anchor": 0.0, **DEVIATION},
            {"optimizer": "pypty", "sweeps": 0, "hist_length": 0, **OTHERS},
            {**WEIGHTS, "update_probe_pos": True},
            {"source_blur_A": 0.2, "fly_scan_share": 1.0, "probe_orthogonality_weight": 0.1, "probe_modes": 2},
        ],
        14,
    ),
    ids=" ".join,
)
def test_the_plain_model(small, both, values):
    results = both(lambda: run(small.dataset, **values))
    same_course(results)
    if "update_probe_pos" in values:
        # fractional pixels in single precision, after some epochs
        np.testing.assert_allclose(results[1].positions_A, results[0].positions_A, atol=5e-3 if ON_CARD else 1e-4)
        rel = 1e-2 if ON_CARD else 1e-4
        assert results[1].position_bound_A == pytest.approx(results[0].position_bound_A, rel=rel)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({**THICK, **TILTED, "tilt_mode": 4, **DEVIATION}, marks=SLOW),
        {"update_detector_psf": True, "update_static_background": True},
        {"opr_components": 2, "source_blur_A": 0.2, "probe_modes": 2},
        {**THICK, "field_order": 2, "field_terms": ["C10", "thickness", "tilts"], "tilt_mode": 2},
        {"tilts_mrad": [[0] * 6] * COUNT, "update_tilts": True, "tilt_mode": 2, "fast_axis_reg_weight_tilts": 1.0},
        pytest.param({**THICK, **TILTED, "tilt_mode": 0, "tilts_mrad": [[0, 0, 1, 2, 0, 0]]}, marks=SLOW),
        {"aberration_marker": "rows:3", "update_aberrations": True, "aberrations_array_A": [[5.0, 1.0], [2.0], [-4.0]]},
        {"probe_marker": "columns:2", **MODES},
        {"damping_cutoff_multislice": 0.7, "smooth_rolloff": 0.1, "weakly_damped_obj": True},
        {"upsample_pattern": 2, "update_static_background": True},
        pytest.param({**THICK, "propmethod": "yoshida", "update_slice_distances": True}, marks=SLOW),
        {**THICK, "update_thickness": True},
    ],
    ids=" ".join,
)
def test_general_models_take_the_same_course_on_a_device(small, both, values):
    same_course(both(lambda: run(small.dataset, **values)))


@pytest.mark.parametrize(
    ("basis", "values"),
    [
        ("zernike:45+1", {}),
        ("binning:45+1", {"algorithm": "poisson_compressed"}),
        ("zernike:45+1:sqrt", {"perpendicular_weight": 1e-4, "edge_weight": 1e-3}),
    ],
)
def test_coefficients_take_the_same_course_on_a_device(small, both, basis, values):
    dataset, _ = compressed(small.dataset, basis)
    same_course(both(lambda: run(dataset, **values)))


@pytest.mark.parametrize(
    "values",
    [
        {**FLIPS, "cf_delta_phase": 0.05},
        {**FLIPS, "fancy_deconvolution": "richardson_lucy"},
        {**LAYERS, "beta_wedge": "2 if epoch == 2 else 0", "apply_gaussian_filter_px": "0.5 if epoch == 3 else 0"},
        {"restart_from_vacuum": "epoch == 3", "obj_modes": 2, "update_probe": "epoch > 2"},
        {"phase_only_obj": "epoch < 3", "probe_part": "'phase' if epoch < 3 else 'amplitude'"},
        {**MODES, "update_probe_pos": True, "reset_positions": "epoch == 3"},
        {
            "atv_weight": "0.5 / (1 + epoch)",
            "sequence": f"lambda x: list(range(0, {COUNT}, 2)) if x < 2 else list(range({COUNT}))",
        },
    ],
    ids=" ".join,
)
def test_constraints_and_schedules(small, both, values):
    # the quotients of Richardson-Lucy magnify the rounding of the transforms: found 4e-4
    rtol = 2e-3 if "fancy_deconvolution" in values else 1e-5
    same_course(both(lambda: run(small.dataset, epoch_max=4, **values)), rtol)


EVERYTHING = {**THICK, **OTHERS, "probe_modes": 2, "update_slice_distances": True}


@pytest.mark.parametrize("values", [{}, pytest.param(EVERYTHING, marks=SLOW)], ids=len)
def test_the_fused_kernel(small, monkeypatch, values):
    """Its sums are in single precision, so the course is that of the arrays to this accuracy."""
    preset = Preset.from_mapping({**PLAIN, "window_px": 32, "epoch_max": 3, "sweeps": 2, **values})
    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "")
    monkeypatch.setattr(gpu, "too_small", lambda problem: "")
    results = []
    for opened in (partial(arrays, np), fused):
        monkeypatch.setattr(gpu, "opened", opened)
        results.append(refine(small.dataset, preset, backend="gpu"))
    same_course(results, rtol=1e-4)


@pytest.mark.parametrize("asked_before_stop", quick_first([11, 3]))
def test_stopped_and_resumed(small, both, tmp_path, asked_before_stop):
    preset = Preset.from_mapping({**PLAIN, "batch_size": 22, "epoch_max": 5, "sweeps": 3, "update_probe_pos": True})

    def interrupted():
        asked, path = count(1), tmp_path / str(len(list(tmp_path.iterdir())))
        options = {"backend": "gpu", "checkpoint": path}
        stopped = refine(small.dataset, preset, should_stop=lambda: next(asked) > asked_before_stop, **options)
        assert stopped.state == "stopped"
        whole, rest = (
            refine(small.dataset, preset, backend="gpu"),
            refine(small.dataset, preset, resume=True, **options),
        )
        if ON_CARD:  # sums are added in no fixed order
            np.testing.assert_allclose(rest.loss, whole.loss, rtol=1e-5)
            assert np.abs(rest.object - whole.object).max() < 0.05
            return rest
        np.testing.assert_array_equal(rest.loss, whole.loss)
        np.testing.assert_array_equal(rest.object, whole.object)
        return rest

    same_course(both(interrupted))


def test_previews_are_the_same_on_a_device(small, both):
    def previews():
        seen = []
        refine(small.dataset, Preset.from_mapping(PLAIN), backend="gpu", on_progress=seen.append)
        assert all(isinstance(each.loss, float) for each in seen)
        return seen[-1].preview()

    host, there = both(previews)
    np.testing.assert_allclose(there.object_phase, host.object_phase, atol=1e-2)  # rad, for a picture


@pytest.mark.slow
def test_what_goes_before_and_after_a_run(small, both):
    """Trials of modes, scans of calibration values, checks and halves."""
    context, preset = TrialContext("gpu"), Preset.from_mapping({**PLAIN, "epoch_max": 2, "sweeps": 2})
    times = -(-LEAST_PATTERNS // COUNT)
    repeated = replace(
        small.dataset,
        patterns=np.concatenate([small.dataset.patterns] * times),
        point=np.concatenate([small.dataset.point] * times),
        positions_A=np.concatenate([small.dataset.positions_A] * times),
    )
    open_ = Preset.from_mapping({"window_px": 24})
    # losses and correlations of short trials, as input of a decision in steps of percents
    curves = both(lambda: measure_curve(small.dataset, preset, Scanned.DEFOCUS, context, values=(40.0, 60.0, 80.0)))
    np.testing.assert_allclose(curves[1].losses, curves[0].losses, rtol=1e-3)
    halves = both(lambda: validate(small.dataset, preset, context).correlation)
    assert halves[1] == pytest.approx(halves[0], abs=1e-3)
    assert both(lambda: check(small.dataset, preset, context).reason)[1]
    modes = both(lambda: choose_modes(repeated, open_, context))
    assert modes[1].several_course.late.mean == pytest.approx(modes[0].several_course.late.mean, rel=1e-3)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, marks=SLOW),
        {**OTHERS, **WEIGHTS, "position_prior_A": 0.1},
        pytest.param({**THICK, "update_slice_distances": True}, marks=SLOW),
        {**THICK, **TILTED, "tilt_mode": 4},
        {**LIMITED, "update_aberrations": True},
    ],
    ids=lambda values: " ".join(values) or "default",
)
def test_batches_of_a_sweep_do_not_wait_for_each_other(small, values):
    setup = prepare(small.dataset, Preset.from_mapping({**PLAIN, **values}), None)
    layout, terms = on_device((setup.layout, setup.terms), device)
    objective = Objective(arrays(device, setup.multislice), layout, setup.multislice.count, terms=terms)
    solver = Sweeps(objective, 3, 0, 8, 0.3, 0.1, seed=0)
    state = solver.init(device.asarray(setup.start))
    while (state.sweep, state.batch) < (2, 1):  # the factor that shortens steps of several slices is measured first
        state = solver.step(state)
    device.traffic.reset()
    for _ in range(solver.batches - 2):
        state = solver.step(state)
    assert device.traffic.to_host == 0
    assert device.traffic.to_device == 2 * (solver.batches - 2)  # the selected patterns: for loss and illumination


def noted(recordings, record, *given):
    recordings.append(record(*given))
    return recordings[-1]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, marks=SLOW),
        {**OTHERS, **WEIGHTS, "position_prior_A": 0.1, "deformation_reg_weight_positions": 0.0},
        pytest.param({**THICK, **TILTED, "tilt_mode": 4}, marks=SLOW),
        pytest.param({**THICK, "phase_only_obj": False}, marks=SLOW),
        pytest.param({**LIMITED, "update_aberrations": True}, marks=SLOW),
    ],
    ids=lambda values: " ".join(values) or "default",
)
def test_batches_that_the_device_repeats_take_the_same_course(small, values):
    """A sweep has six batches of two sizes; from the third of each size on, they are replayed recordings."""
    setup = prepare(small.dataset, Preset.from_mapping({**PLAIN, "window_px": 32, **values}), None)
    layout, terms = on_device((setup.layout, setup.terms), device)
    courses, recordings = [], []
    for repeats in (False, True):
        backend = (fused_general if "tilts_mrad" in values else fused)(setup.multislice)
        backend.record = partial(noted, recordings, backend.record) if repeats else None
        objective = Objective(backend, layout, setup.multislice.count, terms=terms)
        solver = Sweeps(objective, 4, 1, 11, 0.3, 0.1, seed=0, full_sweeps=3)
        state = solver.init(device.asarray(setup.start))
        while not solver.finished(state):
            kept, values_then = state.vector, state.vector.get()
            state = solver.step(state)
            np.testing.assert_array_equal(kept.get(), values_then)  # no parameters are overwritten
        courses.append([*state.losses, *state.vector.get()])
    assert len(recordings) >= 4  # probe alone, both sizes, the shorter steps at the end
    apart = np.abs(np.subtract(*courses))
    assert apart.max() < 1e-4 * np.abs(courses[0]).max()  # sums of the kernel are added in no fixed order


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({**THICK, **TILTED, "tilt_mode": 4}, marks=SLOW),
        {"aberration_marker": "rows:4", "update_aberrations": True},
        pytest.param({"opr_components": 2}, marks=SLOW),
        {"detector_psf_px": 0.6, "update_detector_psf": True},
        pytest.param({"damping_cutoff_multislice": 0.7, "probe_modes": 2}, marks=SLOW),
    ],
    ids=" ".join,
)
def test_a_model_takes_the_same_course_through_the_fused_kernel(small, monkeypatch, values):
    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "")
    monkeypatch.setattr(gpu, "too_small", lambda problem: "")
    found = []
    for opened in (partial(arrays, np), fused_general):
        monkeypatch.setattr(gpu, "opened", opened)
        found.append(run(small.dataset, **{"window_px": 32, "sweeps": 2, "epoch_max": 3, **values}))
    same_course(found, rtol=1e-4)  # two kernels in single precision, over the epochs


def test_code_of_others_is_called_each_time(small):
    """It may behave differently each time."""

    class Theirs:
        def add(self, layout, vector, gradient, xp):
            return 0.0

    setup = prepare(small.dataset, Preset.from_mapping({**PLAIN, "window_px": 32}), None)
    objective = Objective(fused(setup.multislice), on_device(setup.layout, device), setup.multislice.count)
    assert objective.recorder(8) is not None
    assert replace(objective, terms=(Theirs(),)).recorder(8) is None
    assert replace(objective, constraint=Constraints((Theirs(),))).recorder(8) is None
    assert objective.recorder(1 << 40) is None  # a batch with pauses in it
    assert Objective(arrays(device, setup.multislice), objective.layout, 8).recorder(8) is None


def test_a_sweep_without_a_finite_loss_is_undone_at_its_end(small):
    setup = prepare(small.dataset, Preset.from_mapping({**PLAIN, "phase_only_obj": False}), None)
    objective = Objective(arrays(device, setup.multislice), on_device(setup.layout, device), setup.multislice.count)
    solver = Sweeps(objective, 3, 0, 20, 1e30, 1e30, seed=0)
    state = solver.init(device.asarray(setup.start))
    with np.errstate(all="ignore"):
        for _ in range(solver.batches):
            state = solver.step(state)
    assert (state.sweep, state.halvings) == (0, 1)
    np.testing.assert_array_equal(state.vector.get(), setup.start)


@pytest.mark.parametrize("moving", [["shifts", "currents"], ["shifts", "tilts", "currents"]], ids=["fixed", "refined"])
def test_scans_at_several_tilts(both, moving):
    specimen = TiltedScans(np.array([[2.0, 2.0, 5.0], [3.0, 1.0, 25.0]]), np.full(2, 0.4), 40.0, points=4)
    tilts = [(0.0, 0.0), (20.0, -5.0)]
    together = specimen.together(tilts)
    settings = {**THICK, "window_px": 32, "scan_tilts_mrad": tilts, "update_scans": moving}
    host, there = both(lambda: run(together, **settings))
    assert there.backend == ("gpu" if "tilts" in moving else "gpu, 2 tilts")
    np.testing.assert_allclose(there.loss, host.loss, rtol=1e-5)
    np.testing.assert_allclose(there.refined.scans.shifts_A, host.refined.scans.shifts_A, atol=1e-4)
