"""Effect of noise on the phase: curvature and noise by rings, against derivatives and repeated counts."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.backend.multislice.description import (
    AberrationGroups,
    CompressedPatterns,
    ForwardModel,
    NearField,
    PerpendicularTerm,
    Tilts,
)
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.validation import noise_response as module
from ptylive.engine.refine.validation.noise_response import (
    by_rings,
    measured_response,
    sampled,
    share_of_rings,
    white_noise,
)
from ptylive.schema.preset import Preset

CPU = TrialContext("cpu")


@pytest.fixture(scope="module")
def counted(simulated):
    """A problem and parameters with patterns counted from exactly these; Poisson likelihood without a floor."""
    plain = {"num_slices": 1, "probe_modes": 1, "phase_only_obj": True, "algorithm": "ml", "loss_floor": 1e-9}
    problem = prepare(simulated.dataset, Preset.from_mapping(plain), None)
    rng = np.random.default_rng(4)
    vector = problem.start.copy()
    problem.layout.object_block(vector)[:] = 0.1 * rng.normal(size=problem.layout.object_size)
    physical = problem.layout.physical(vector, np)
    with closing(CompiledMultislice(replace(problem.multislice, model=None))) as backend:
        mean = backend.intensities(physical.object, physical.probe)
    patterns = rng.poisson(100 * np.maximum(mean, 0)).astype(np.uint16)
    probe = problem.layout.probe_block(vector)
    probe *= 10.0  # a hundred times the light, so that every pixel has counts
    return replace(problem, multislice=replace(problem.multislice, patterns=patterns)), vector


@pytest.fixture
def everything(monkeypatch):
    """Use all patterns."""
    monkeypatch.setattr(module, "SHARE", 1.0)
    monkeypatch.setattr(module, "MOST", 10**6)


def test_few_patterns_from_all_over_the_scan_within_bounds(counted):
    problem, _ = counted
    chosen = sampled(problem, 0)
    assert len(chosen) == len(np.unique(chosen)) == module.FEWEST
    assert chosen.max() > problem.multislice.count // 2
    large = replace(problem, multislice=replace(problem.multislice, patterns=np.zeros((144, 4096, 1), np.uint8)))
    assert len(sampled(large, 0)) == module.FEWEST
    assert (
        len(
            sampled(
                replace(
                    large,
                    multislice=replace(large.multislice, patterns=np.broadcast_to(np.uint8(0), (144, 8192, 4096))),
                ),
                0,
            )
        )
        == 1
    )


def test_the_curvature_is_the_second_derivative_along_a_wave(counted, everything):
    problem, vector = counted
    layout, (rows, cols) = problem.layout, problem.layout.object_shape[1:]
    found = np.mean([measured_response(problem, vector, CPU, seed, 1.0).curvature for seed in range(8)], axis=0)
    with closing(open_backend("cpu", problem.multislice)) as backend:
        physical = layout.physical(vector, np)
        light = backend.illumination(physical.probe)

        def slope(length, wave):
            moved = vector.copy()
            layout.object_block(moved)[:] += (length * wave).ravel()
            now = layout.physical(moved, np)
            result = backend.loss_and_gradient(now.object, now.probe, None)
            return float((layout.chain(moved, now, result, np)[: layout.object_size] * wave.ravel()).sum(dtype=float))

        for cycles in (6, 9):
            exact = []
            for across in (0, 2, cycles // 2, cycles):
                for phase in (0.0, 0.25):
                    turn = np.arange(rows)[:, None] * np.sqrt(cycles**2 - across**2) + np.arange(cols) * across
                    wave = np.cos(2 * np.pi * (turn / layout.window + phase)).astype(np.float32)
                    # half of the light falls where the wave is
                    exact.append((slope(1e-2, wave) - slope(-1e-2, wave)) / 2e-2 / (light * wave**2).sum(dtype=float))
            # eight realisations of white noise over some hundred frequencies of a ring: 3 %; eight waves of all of it:
            # 5 %
            assert found[cycles] == pytest.approx(np.mean(exact), rel=0.15)


def test_of_a_likelihood_noise_is_the_curvature(counted, everything):
    """Fisher information: the variance of the gradient is the expected second derivative."""
    problem, vector = counted
    every = [measured_response(problem, vector, CPU, seed, 1.0) for seed in range(8)]
    assert every[0].patterns == problem.multislice.count
    noise, curvature = (np.mean([vars(one)[name] for one in every], axis=0) for name in ("noise", "curvature"))
    total = [float((every[0].pixels * one)[2:].sum()) for one in (noise, curvature)]
    # eight draws of noise over thousands of frequencies: a few per cent
    assert total[0] == pytest.approx(total[1], rel=0.1)


def test_counts_of_an_electron_scale_the_noise(counted, everything):
    problem, vector = counted
    one, nine = (measured_response(problem, vector, CPU, 2, gain) for gain in (1.0, 9.0))
    assert float(nine.noise[2:].sum()) == pytest.approx(9 * float(one.noise[2:].sum()), rel=0.15)
    np.testing.assert_allclose(nine.curvature, one.curvature, rtol=1e-4)  # rounding of patterns stored as floats


def test_rings_of_white_noise_are_flat_and_hold_everything():
    white = white_noise((40, 31), np.random.default_rng(0))
    assert by_rings(white, white, 16) @ share_of_rings(white.shape, 16) == pytest.approx((white**2).mean())
    assert share_of_rings(white.shape, 16).sum() == pytest.approx(1.0)


def test_some_patterns_of_a_problem_are_those_of_all(counted):
    """They may come in any order and more than once; quantities of each pattern go with them."""
    problem, vector = counted
    chosen = np.array([7, 3, 3])
    own = replace(problem.multislice, offsets_px=np.arange(2.0 * problem.multislice.count).reshape(-1, 2) % 3)
    planes = problem.layout.physical(vector, np)
    with closing(open_backend("cpu", own)) as all_of_them, closing(open_backend("cpu", own.part(chosen))) as some:
        expected = all_of_them.loss_and_gradient(planes.object, planes.probe, chosen)
        found = some.loss_and_gradient(planes.object, planes.probe)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)  # single precision
    np.testing.assert_allclose(found.object, expected.object, atol=1e-5 * np.abs(expected.object).max())


def test_a_part_takes_along_what_each_pattern_has_of_its_own():
    n = np.arange(4)
    plates, values = np.ones((4, 2, 2)) * n[:, None, None], np.ones((4, 3)) * n[:, None]
    length = PerpendicularTerm(np.ones(4), n, 1.0 * n, 1.0)
    model = ForwardModel(
        pixel_A=0.2,
        wavelength_A=0.03,
        thickness_A=(1.0,),
        tilts=Tilts(np.ones((4, 6)) * n[:, None], 0),
        aberrations=AberrationGroups(np.zeros((1, 2, 2)), np.zeros((2, 1)), n % 2),
        probe_marker=n % 2,
        phase_plates=plates,
        near_field=NearField(10.0 * n, 0.0, 0.0),
        compressed=CompressedPatterns(values, np.zeros((3, 4)), perpendicular=(length,)),
    )
    part = model.part(np.array([2, 1]))
    assert part.tilts.tangents[:, 0].tolist() == [2.0, 1.0]
    assert part.aberrations.group.tolist() == part.probe_marker.tolist() == [0, 1]
    assert part.phase_plates[:, 0, 0].tolist() == part.compressed.values[:, 0].tolist() == [2.0, 1.0]
    assert part.compressed.perpendicular[0].measured.tolist() == [2.0, 1.0]
    assert part.near_field.defocus_A.tolist() == [20.0, 10.0]
    one = replace(model, tilts=Tilts(np.ones((1, 6)), 0)).part(np.array([2, 1]))
    assert len(one.tilts.tangents) == 1
