"""Moduli, phases and patterns that are active for some epochs only.

Everything is in single precision: fixed quantities keep their value to 1e-5 over a step and to 1e-4 over the epochs of
a run, whereas free ones move by far more.
"""

from itertools import count

import numpy as np
import pytest
from rounding import SINGLE

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine import refine
from ptylive.engine.refine.parameters.amplitude_phase_constraint import AmplitudePhaseConstraint
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.solvers.sweeps import Sweeps
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

PLAIN = {"window_px": 32, "probe_modes": 1, "phase_only_obj": False, "num_slices": 2, "total_thickness_A": 6.0}
HELD = [{"phase_only_obj": True}, {"probe_part": "phase"}, {"probe_part": "amplitude"}]


def constraint_of(preset, *rest):
    return AmplitudePhaseConstraint.of(preset.object, preset.probe, *rest)


@pytest.fixture(scope="module")
def bumpy(small):
    """A setup, its backend in single precision, and a vector away from its start."""
    setup = prepare(small.dataset, Preset.from_mapping(PLAIN), None)
    rng, layout = np.random.default_rng(5), setup.layout
    vector = layout.start(rng.uniform(0, 0.5, (layout.planes, *layout.object_shape[1:])))
    vector[: layout.object_size] += 0.1 * rng.normal(size=layout.object_size).astype("f4")
    return setup, GeneralMultislice(setup.multislice, np, "complex64", "arrays"), vector


def complexes(setup, vector):
    """Object and probe of a vector."""
    return setup.layout.to_complex(vector)


@pytest.mark.parametrize("held", HELD, ids=str)
def test_a_step_leaves_alone_what_is_held(bumpy, held):
    setup, backend, vector = bumpy
    parts = constraint_of(Preset.from_mapping({**PLAIN, **held}), setup.layout, vector, np)
    objective = Objective(backend, setup.layout, setup.multislice.count, constraint=parts)
    gradient = objective.evaluate(vector, np.arange(20)).gradient
    inverse = objective.inverse_curvature(vector, 1.0)
    moved = objective.project(vector - 5 * inverse * gradient)
    (object_before, probe_before), (object_now, probe_now) = complexes(setup, vector), complexes(setup, moved)
    if "phase_only_obj" in held:
        np.testing.assert_allclose(np.abs(object_now), np.abs(object_before), rtol=1e-5)
        assert np.abs(np.angle(object_now / object_before)).max() > 1e-3
    elif held["probe_part"] == "phase":
        np.testing.assert_allclose(np.abs(probe_now), np.abs(probe_before), rtol=1e-4, atol=1e-6)
        assert np.abs(probe_now - probe_before).max() > 1e-3 * np.abs(probe_before).max()
    else:
        across = (probe_now * probe_before.conj()).imag
        assert np.abs(across).max() < 1e-5 * (np.abs(probe_before) ** 2).max()
        assert np.abs(probe_now - probe_before).max() > 1e-3 * np.abs(probe_before).max()


@pytest.mark.parametrize("held", HELD, ids=str)
def test_the_gradient_is_the_derivative_of_the_path(bumpy, held):
    """Along x(t) = P(x + t d) the loss changes as the gradient predicts, for any d."""
    setup, backend, vector = bumpy
    parts = constraint_of(Preset.from_mapping({**PLAIN, **held}), setup.layout, vector, np)
    objective = Objective(backend, setup.layout, setup.multislice.count, constraint=parts)
    few = np.arange(20)
    at = objective.evaluate(vector, few)
    free = Objective(backend, setup.layout, setup.multislice.count).evaluate(vector, few).gradient
    direction = free * objective.inverse_curvature(vector, 1.0)
    step = 2e-2
    ahead, behind = (
        objective.evaluate(objective.project((vector + t * direction).astype("f4")), few).loss for t in (step, -step)
    )
    rounding = SINGLE * float(at.loss) / step  # of two losses; truncation is smaller
    assert (ahead - behind) / (2 * step) == pytest.approx(float(at.gradient @ direction), abs=rounding)


def test_what_is_refined_as_a_phase_anyway_needs_nothing(bumpy, small):
    _, _, vector = bumpy
    preset = Preset.from_mapping({**PLAIN, "phase_only_obj": True, "probe_part": "phase"})
    setup = prepare(small.dataset, preset, None)
    assert constraint_of(preset, setup.layout, setup.start, np) is None
    assert constraint_of(Preset.from_mapping(PLAIN), bumpy[0].layout, vector, np) is None


def run(dataset, **values):
    plain = {
        "window_px": 32,
        "probe_modes": 1,
        "epoch_max": 8,
        "sweeps": 4,
        "refine_drift": False,
        "phase_deviation": False,
    }
    return refine(dataset, Preset.from_mapping({**plain, **values}), backend="cpu")


def test_an_object_of_phase_alone_for_all_epochs_has_modulus_1(small):
    result = run(small.dataset, phase_only_obj="epoch < 100")
    np.testing.assert_allclose(np.abs(result.object), np.abs(result.object).mean(), rtol=1e-4)
    for losses in (result.loss[:4], result.loss[4:]):
        assert (np.diff(losses) < 0).all()
    later = run(small.dataset, phase_only_obj="epoch < 6")
    assert np.ptp(np.abs(later.object)) > 0.01
    np.testing.assert_allclose(later.loss[:6], result.loss[:6], rtol=1e-6)  # the same arithmetic up to there


def test_a_probe_of_phase_alone_keeps_its_aperture(small):
    start = run(small.dataset, update_probe=False)
    held = run(small.dataset, probe_part="phase if epoch < 100 else both")
    freed = run(small.dataset, probe_part="phase if epoch < 6 else both")
    moduli = [np.abs(np.fft.fft2(result.probe[0])) for result in (start, held, freed)]
    np.testing.assert_allclose(moduli[1], moduli[0], atol=1e-5 * moduli[0].max())
    assert np.abs(moduli[2] - moduli[0]).max() > 5e-3 * moduli[0].max()  # 500 times the change of what is held
    assert np.abs(held.probe - start.probe).max() > 3e-4 * np.abs(start.probe).max()


def test_patterns_of_an_epoch(small):
    """With a sequence by epoch, sweeps and L-BFGS evaluate only the patterns that it names."""
    dataset, asked = small.dataset, []

    class Watched(GeneralMultislice):
        def loss_and_gradient(self, objects, probe, indices=None, **options):
            asked.append(np.arange(self.problem.count) if indices is None else np.asarray(indices))
            return super().loss_and_gradient(objects, probe, indices, **options)

    setup = prepare(dataset, Preset.from_mapping({"window_px": 32, "probe_modes": 1}), None)
    backend = Watched(setup.multislice, np, "complex64", "arrays")
    objective = Objective(backend, setup.layout, setup.multislice.count, chosen=np.arange(5, 50, 3))
    objective.evaluate(setup.start)
    sweeps = Sweeps(objective, 1, 0, 4, 0.5, 0.1, 0, patterns=np.arange(20))
    state = sweeps.init(setup.start)
    while not sweeps.finished(state):
        state = sweeps.step(state)
    np.testing.assert_array_equal(asked[0], np.arange(5, 50, 3))
    in_batches = [indices for indices in asked[1:] if len(indices) < 5]  # start and end are judged on all of them
    np.testing.assert_array_equal(np.sort(np.concatenate(in_batches)), [5, 8, 11, 14, 17])
    np.testing.assert_array_equal(np.unique(np.concatenate(asked[1:])), [5, 8, 11, 14, 17])


def test_a_sequence_may_follow_the_epoch(simulated):
    half = run(simulated.dataset, sequence="range(0, 72) if epoch < 100 else None")
    whole = run(simulated.dataset, sequence="range(0, 72) if epoch < 4 else None")
    alike = run(simulated.dataset, sequence="range(epoch % 2, 144, 2) if epoch < 4 else None")
    plain = run(simulated.dataset)
    below = np.angle(half.object[0, 0])[-19:-16, 27:-27]  # rows that only the second half of the scan illuminated well
    assert np.abs(below).mean() < 0.5 * np.abs(np.angle(plain.object[0, 0])[-19:-16, 27:-27]).mean()
    for result in (whole, alike):
        assert result.state == "done"
        # half the patterns for half the epochs: found 4 % apart
        assert result.loss[-1] == pytest.approx(plain.loss[-1], rel=0.1)


def test_a_stopped_run_goes_on_in_the_middle_of_a_held_epoch(small, tmp_path):
    values = {"phase_only_obj": "epoch < 3", "probe_part": "phase if epoch < 5 else both", "batch_size": 32}
    values["sequence"] = "range(epoch % 2, 64, 2) if epoch < 6 else None"
    preset = Preset.from_mapping({"window_px": 32, "probe_modes": 1, "epoch_max": 8, "sweeps": 4, **values})
    whole = refine(small.dataset, preset, backend="cpu")
    for limit in (5, 9, 14):
        asked = count()
        refine(
            small.dataset,
            preset,
            backend="cpu",
            should_stop=lambda asked=asked, limit=limit: next(asked) > limit,
            checkpoint=tmp_path / "state",
            resume=True,
        )
    rest = refine(small.dataset, preset, backend="cpu", checkpoint=tmp_path / "state", resume=True)
    np.testing.assert_allclose(rest.loss, whole.loss, rtol=1e-6)  # the same arithmetic


def test_a_sequence_without_patterns_is_refused_before_the_run(small):
    with pytest.raises(MetadataError, match="none of 64 patterns"):
        run(small.dataset, sequence="range(200, 300) if epoch > 2 else None")
