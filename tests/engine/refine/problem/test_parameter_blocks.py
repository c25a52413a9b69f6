"""Everything that can be refined: derivatives of the whole objective, and recovery of the true values."""

from dataclasses import replace

import numpy as np
import pytest
from combinations import every_two
from quick_first import quick_first

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine import refine
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.regularisers.scan_neighbours import rows_of_three
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

EVERYTHING = {
    "update_probe_pos": True,
    "update_beam_current": True,
    "update_static_background": True,
    "update_aberrations": True,
    "position_prior_A": 0.1,
    "fast_axis_reg_weight_positions": 30.0,
    "deformation_reg_weight_positions": 20.0,
}
OBJECTS = {
    "phase": {"phase_only_obj": True},
    "complex": {"phase_only_obj": False},
    "damped": {"weakly_damped_obj": True},
}


@pytest.mark.parametrize(
    ("algorithm", "objects", "probe_part", "shape"),
    every_two(
        ["lsq_sqrt", "ml", "lsq", "lsq_sqrt_2"], list(OBJECTS), ["both", "phase", "amplitude"], [(1, 1, 1), (3, 2, 2)]
    ),
)
def test_gradient_of_the_objective(simulated, algorithm, objects, probe_part, shape):
    """Along each block of the vector, in double precision, including terms and aberrations."""
    slices, modes, object_modes = shape
    thick = {"num_slices": 3, "total_thickness_A": 30.0, "update_slice_distances": True} if slices > 1 else {}
    values = {
        "algorithm": algorithm,
        "loss_floor": 0.1,
        "probe_part": probe_part,
        "probe_modes": modes,
        "obj_modes": object_modes,
    }
    few = replace(
        simulated.dataset,
        patterns=simulated.dataset.patterns[:6],
        point=simulated.dataset.point[:6],
        positions_A=simulated.dataset.positions_A[:6],
    )
    setup = prepare(
        few, Preset.from_mapping({"window_px": 24, **EVERYTHING, **thick, **values, **OBJECTS[objects]}), None
    )
    layout, rng = setup.layout, np.random.default_rng(0)
    backend = GeneralMultislice(setup.multislice, np, "complex128", "reference")
    objective = Objective(backend, layout, setup.multislice.count, terms=setup.terms)
    vector = setup.start.astype(np.float64)
    scale = np.full(vector.size, 0.05)
    scale[layout.object_size : layout.object_size + layout.probe_size] *= max(
        1, np.abs(layout.probe_block(vector)).max()
    )
    for name, size in ((BlockName.ABERRATIONS, 20.0), (BlockName.DISTANCES, 20.0), (BlockName.BACKGROUND, 2.0)):
        if name in layout.other_blocks(vector):
            layout.other_blocks(scale)[name][...] = size * 0.05
    vector += scale * rng.random(vector.size)
    gradient = objective.evaluate(vector).gradient
    ends = np.cumsum([layout.object_size, layout.probe_size, *(b.start.size for b in layout.blocks)])
    for part in np.split(np.arange(vector.size), ends[:-1]):
        direction = np.zeros(vector.size)
        direction[part] = scale[part] * rng.normal(size=len(part))
        at = [objective.evaluate(vector + k * 3e-3 * direction).loss for k in (-2, -1, 1, 2)]
        expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * 3e-3)
        assert gradient[part] @ direction[part] == pytest.approx(expected, rel=1e-6)  # truncation: 1e-7 at this step


def run(dataset, **values):
    plain = {
        "window_px": 24,
        "probe_modes": 1,
        "epoch_max": 20,
        "sweeps": 8,
        "refine_drift": False,
        "phase_deviation": False,
    }
    return refine(dataset, Preset.from_mapping({**plain, **values}), backend="cpu")


def correlation(result, specimen):
    """Correlation of the object found with the specimen: 0.957 and more with these epochs; 0.9 is required."""
    phase = np.angle(result.object[0]).sum(0)
    rows, columns = (np.arange(phase.shape[i]) * result.object_sampling_A[i] + result.origin_A[i] for i in (0, 1))
    low, high = result.positions_A.min(0) + 2, result.positions_A.max(0) - 2
    inside = np.ix_((rows > low[0]) & (rows < high[0]), (columns > low[1]) & (columns < high[1]))
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.corrcoef(phase[inside].ravel(), specimen.phase(y, x)[inside].ravel())[0, 1]


@pytest.mark.parametrize(
    "values",
    quick_first(
        [
            {"weakly_damped_obj": True},
            {"algorithm": "lsq"},
            {"algorithm": "lsq_sqrt_2"},
            {"obj_modes": 2},
            {"probe_part": "phase"},
            {"probe_part": "amplitude"},
        ],
        1,
    ),
)
def test_every_form_finds_the_object(simulated, values):
    assert correlation(run(simulated.dataset, **values), simulated.specimen) > 0.9


def test_wrong_positions_are_found_again(simulated):
    dataset = simulated.dataset
    jitter = np.random.default_rng(5).normal(0, 0.12, dataset.positions_A.shape)
    result = run(
        replace(dataset, positions_A=dataset.positions_A + jitter), update_probe_pos=True, position_prior_A=0.15
    )
    before = jitter - jitter.mean(0)
    after = result.positions_A - dataset.positions_A
    after -= after.mean(0)
    # found 0.69 of it: the bound of position_bound_A, 0.12 Å, is only slightly below the error
    assert np.sqrt((after**2).sum(1).mean()) < 0.8 * np.sqrt((before**2).sum(1).mean())
    assert 0 < result.position_bound_A < 0.2
    np.testing.assert_allclose(result.positions_A.mean(0), (dataset.positions_A + jitter).mean(0), atol=1e-9)


def test_a_flickering_beam_is_found(simulated):
    rng = np.random.default_rng(6)
    current = rng.uniform(0.7, 1.3, len(simulated.dataset.patterns))
    dimmed = rng.binomial(simulated.dataset.patterns, (current / 1.3)[:, None, None]).astype(np.uint16)
    result = run(replace(simulated.dataset, patterns=dimmed), update_beam_current=True)
    # counting noise of 3000 electrons is 2 % of a current that varies by 17 %: 0.99
    assert np.corrcoef(result.refined.beam_current, current)[0, 1] > 0.9
    assert result.refined.beam_current.mean() == pytest.approx(1.0, abs=1e-5)  # mean of 144 in single precision


def test_a_static_background_is_found(simulated):
    rng = np.random.default_rng(7)
    background = np.zeros((24, 24))
    background[3:6, 17:20] = 8.0
    patterns = simulated.dataset.patterns + rng.poisson(background, simulated.dataset.patterns.shape)
    result = run(replace(simulated.dataset, patterns=patterns.astype(np.uint16)), update_static_background=True)
    found = result.refined.background
    assert found.min() >= 0
    assert np.corrcoef(np.roll(found, (0, 0), (0, 1)).ravel(), background.ravel())[0, 1] > 0.95  # found 0.999


def test_a_wrong_defocus_is_found(simulated):
    calibration = simulated.dataset.calibration
    entry = calibration.entries["C10"]
    wrong = calibration.having(C10=replace(entry, value=entry.value + 25.0))
    result = run(replace(simulated.dataset, calibration=wrong), update_aberrations=True, update_probe=False)
    # found within 1.4, after 20 epochs as after 40
    assert result.refined.aberrations_A[0] == pytest.approx(-25.0, abs=6.0)


def test_rows_of_three_do_not_cross_rows_or_gaps():
    point = np.array([0, 1, 2, 3, 7, 6, 5, 4, 8, 10, 11])
    assert rows_of_three(point, (3, 4)).tolist() == [[0, 1, 2], [1, 2, 3], [4, 5, 6], [5, 6, 7]]


def test_contradictions_are_refused():
    with pytest.raises(MetadataError, match="exclude each other"):
        Preset.from_mapping({"weakly_damped_obj": True, "phase_only_obj": True})
    with pytest.raises(MetadataError, match="num_slices"):
        Preset.from_mapping({"update_slice_distances": True})
    three = {"num_slices": 3, "update_thickness": True}
    with pytest.raises(MetadataError, match="exclude each other"):
        Preset.from_mapping({**three, "total_thickness_A": 30, "update_slice_distances": True})
    with pytest.raises(MetadataError, match="equal slices"):
        Preset.from_mapping({**three, "slice_distances_A": [10, 12]})
