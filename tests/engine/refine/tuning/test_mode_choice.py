"""One mode or several, by held-out loss."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine import refine
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, TrialContext
from ptylive.engine.refine.tuning.mode_choice import ModeChoice, choose_modes
from ptylive.schema.preset import Preset


@pytest.mark.parametrize(
    ("one", "several", "modes"),
    [((100, 102), (103, 104), 1), ((100, 102), (100.2, 104), 4), ((100, 102), (99, 100), 4)],
)
def test_one_mode_where_several_predict_clearly_worse(one, several, modes):
    choice = ModeChoice(4, HeldOutLoss(one), HeldOutLoss(several))
    assert choice.modes == modes
    assert choice.reason.startswith(f"{modes} probe modes")


def repeated(dataset):
    rows, cols = dataset.scan_shape
    step = dataset.positions_A[cols] - dataset.positions_A[0]
    return replace(
        dataset,
        patterns=np.concatenate([dataset.patterns] * 2),
        point=np.arange(2 * rows * cols),
        positions_A=np.concatenate([dataset.positions_A, dataset.positions_A + rows * step]),
        scan_shape=(2 * rows, cols),
    )


@pytest.mark.slow
def test_a_coherent_scan_gets_one_mode(simulated):
    dataset = repeated(simulated.dataset)
    preset = Preset(algorithm="lsq_sqrt", source_size_A=0.8, sweeps=1, epoch_max=1)
    result = refine(dataset, preset, backend="cpu")
    assert result.probe.shape[1] == 1
    assert "1 probe modes" in result.reason
    assert refine(dataset, preset.model_copy(update={"probe_modes": 3}), backend="cpu").probe.shape[1] == 3


def test_nothing_is_tried_where_modes_are_given_or_patterns_few(simulated):
    assert choose_modes(simulated.dataset, Preset(), TrialContext("cpu")) is None
    assert choose_modes(repeated(simulated.dataset), Preset(probe_modes=2), TrialContext("cpu")) is None
