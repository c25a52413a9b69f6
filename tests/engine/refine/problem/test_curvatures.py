"""The curvatures that scale the optimiser's steps against those of the loss itself, for every data term and quantity.

At a perfect fit (patterns as the model gives them) the largest curvature of the loss along a quantity is found by power
iteration on central differences of the gradient. An estimate that is too large makes steps too short, one that is too
small makes them too long. The intervals are those that the formulas keep on this specimen, rounded outwards; an error
of a factor of ten in a data term or a quantity leaves them.
"""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema.preset import Preset

ITERATIONS = 8
INTERVALS = {
    "object": (0.1, 5.0),  # estimates treat each slice alone: three have up to seven times the curvature
    "probe": (0.25, 2.0),
    BlockName.CURRENT: (0.25, 2.0),
    BlockName.BACKGROUND: (0.015, 1.5),  # the darkest pixels have more curvature than their mean suggests
    # phases of the far field do not change what is recorded: these are upper bounds, and only that is claimed
    BlockName.SHIFTS: (1.0, 1000.0),
    BlockName.ABERRATIONS: (1.0, 200.0),
    BlockName.DISTANCES: (1.0, 3000.0),
    BlockName.THICKNESS: (1.0, 1000.0),
    BlockName.SPREAD: (1.0, 50.0),  # the curvature of single patterns exceeds that of their common part
}
REFINED = {
    "update_probe_pos": True,
    "update_beam_current": True,
    "update_static_background": True,
    "update_aberrations": True,
    "update_detector_psf": True,
}


def fitted(dataset, algorithm, slices, along):
    """Objective in double precision whose data are its own model, the parameters there, and the estimates."""
    thick = {"num_slices": 3, "total_thickness_A": 30.0, along: True} if slices > 1 else {}
    values = {"window_px": 24, "algorithm": algorithm, "loss_floor": 0.1, "probe_modes": 1, **REFINED, **thick}
    few = replace(
        dataset, patterns=dataset.patterns[:25], point=dataset.point[:25], positions_A=dataset.positions_A[:25]
    )
    setup = prepare(few, Preset.from_mapping(values), None)
    layout, rng = setup.layout, np.random.default_rng(0)
    vector = setup.start.astype(np.float64)
    vector[: layout.object_size] += 0.3 / slices * rng.random(layout.object_size)
    known = layout.physical(vector, np)
    expected = GeneralMultislice(setup.multislice, np, "complex128", "reference").expected_patterns(
        known.object, known.probe
    )
    problem = replace(setup.multislice, patterns=expected)
    backend = GeneralMultislice(problem, np, "complex128", "reference")
    objective = Objective(backend, layout, problem.count, curvature_scale=setup.strategy.curvature_scale)
    return objective, vector, 1 / objective.inverse_curvature(vector, probe_step=1.0).astype(np.float64)


def largest_curvature(objective, vector, part, estimate):
    """Largest curvature along the parameters ``part``, in units of their estimates."""
    unit = np.zeros(vector.size)
    unit[part] = 1 / np.sqrt(estimate[part])
    direction = np.zeros(vector.size)
    direction[part] = np.random.default_rng(1).normal(size=len(part))
    found, h = 0.0, 1e-3
    for _ in range(ITERATIONS):
        direction /= np.linalg.norm(direction)
        ahead, behind = (objective.evaluate(vector + sign * h * unit * direction).gradient for sign in (1, -1))
        turned = unit * (ahead - behind) / (2 * h)
        found, direction = float(turned @ direction), turned
    return found


@pytest.mark.parametrize(
    ("algorithm", "slices", "along"),
    [
        ("ml", 1, ""),
        pytest.param("lsq_sqrt", 3, "update_slice_distances", marks=pytest.mark.slow),
        *(
            pytest.param(algorithm, slices, along, marks=pytest.mark.slow)
            for algorithm in ("lsq_sqrt", "ml", "lsq", "lsq_sqrt_2")
            for slices, along in ((1, ""), (3, "update_slice_distances"), (3, "update_thickness"))
            if (algorithm, slices, along) not in (("ml", 1, ""), ("lsq_sqrt", 3, "update_slice_distances"))
        ),
    ],
)
def test_estimates_are_of_the_right_size(simulated, algorithm, slices, along):
    objective, vector, estimate = fitted(simulated.dataset, algorithm, slices, along)
    layout = objective.layout
    ends = np.cumsum([layout.object_size, layout.probe_size, *(block.start.size for block in layout.blocks)])
    names = ["object", "probe", *(block.name for block in layout.blocks)]
    for name, part in zip(names, np.split(np.arange(vector.size), ends[:-1]), strict=True):
        # lsq_sqrt_2 is linear in pixels without counts, so its curvature along distances may be negative
        ratio = 1 / abs(largest_curvature(objective, vector, part, estimate))
        low, high = INTERVALS[name]
        assert low < ratio < high, f"{name}: the estimate is {ratio:.2g} times the curvature"
