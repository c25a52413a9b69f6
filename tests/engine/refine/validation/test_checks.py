"""Checks before a long run: overlap, sampling, memory and time, in figures and words."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine import TrialContext, check
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.server.cli.refine_words import describe_checks

PRESET = Preset.from_mapping({"window_px": 32, "probe_modes": 1})
CPU = TrialContext(backend="cpu")


def test_checks_know_overlap_and_sampling(simulated):
    checks = check(simulated.dataset, PRESET, CPU)
    assert checks.patterns == 144
    assert 2 < checks.probe_diameter_A < 8  # twice 60 Å x 25 mrad, and an Airy disc of 2 Å
    assert checks.overlap == pytest.approx(1 - 0.8 / checks.probe_diameter_A)
    assert checks.seconds > 0
    assert checks.memory_bytes > simulated.dataset.patterns.nbytes
    wandering = check(replace(simulated.dataset, offsets_px=np.zeros((144, 2))), PRESET, CPU)
    assert (
        wandering.memory_bytes - checks.memory_bytes == 144 * 4 * 32 * 4
    )  # cosine and sine along both axes, a float each
    assert checks.warnings == ()
    assert "one slice" in checks.reason


def test_how_well_patterns_tell_their_positions_is_said_of_an_object_that_was_seen(simulated):
    """For an empty object every position would fit equally well."""
    assert check(simulated.dataset, PRESET, CPU).position_bound_A is None
    phase = np.random.default_rng(1).uniform(-0.3, 0.3, (24, 24)).astype(np.float32)
    faint, seen = (
        check(simulated.dataset, PRESET, replace(CPU, start=StartGuess(share * phase, (0.4, 0.4)))).position_bound_A
        for share in (0.1, 1.0)
    )
    assert 5 * seen < faint < 2
    assert 0 < seen < 0.2
    unused = replace(CPU, start=StartGuess(np.full_like(phase, np.nan), (0.4, 0.4)))  # would be refused as a start
    assert (
        check(simulated.dataset, PRESET.model_copy(update={"start_from_map": False}), unused).position_bound_A is None
    )


def test_checks_warn_in_words(simulated):
    sparse = replace(simulated.dataset, positions_A=8 * simulated.dataset.positions_A)
    defocus = sparse.calibration.having(C10=Quantity(sparse.calibration.aberrations["C10"] - 400.0, Origin.ESTIMATED))
    spread = replace(sparse, calibration=defocus)
    warnings = check(spread, PRESET.model_copy(update={"update_probe_pos": True}), CPU).warnings
    assert any("overlap" in line for line in warnings)
    assert any("border of the window" in line for line in warnings)
    assert not any("GiB of memory" in line for line in warnings)


def test_a_limit_set_for_the_process_counts_as_the_memory_there_is(simulated, monkeypatch):
    """The check asked the system only, and said nothing of a run that its limit would end."""
    monkeypatch.setattr("ptylive.engine.memory._free_under_limit", lambda: 2.0**27)
    warnings = check(simulated.dataset, PRESET, CPU).warnings
    assert any("GiB of memory, 0.1 GiB are free" in line for line in warnings)


@pytest.mark.parametrize("chosen", [[70], [70, 70, 70]])
def test_patterns_at_one_place_have_no_neighbours(simulated, chosen):
    """Regression: they were said to overlap by minus infinity, and by 100 % where patterns were repeated."""
    checks = check(simulated.dataset.part(np.array(chosen)), PRESET, CPU)
    assert checks.overlap is None
    assert any("all patterns lie at one place" in line for line in checks.warnings)
    assert "Å wide; " in describe_checks(checks)[1]


def test_repeated_patterns_overlap_with_those_beside_them(simulated):
    once, twice = (check(simulated.dataset.part(np.tile(np.arange(144), n)), PRESET, CPU) for n in (1, 2))
    assert twice.overlap == pytest.approx(once.overlap)
