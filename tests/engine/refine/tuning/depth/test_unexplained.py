"""What one slice leaves unexplained, compared with counting noise."""

from dataclasses import replace
from functools import partial

import pytest
from columns import scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.tuning.depth import unexplained
from ptylive.engine.refine.tuning.depth.unexplained import TOO_MUCH, OneSlice, Unexplained, too_little
from ptylive.engine.refine.tuning.held_out import Trial
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

NOISE = 50.0
STATISTICS = PatternStatistics.of


def thin(dataset):
    return Tuned(dataset, Preset(num_slices=1))


@pytest.fixture
def noise_of_50(monkeypatch):
    """Counting noise leaves 50; return the counts per electron that this was asked for."""
    asked = []
    monkeypatch.setattr(unexplained, "counting_noise", lambda model, gain: asked.append(gain) or NOISE)
    return asked


def seen(monkeypatch, faint_share):
    """Make faint pixels have this variance over mean."""
    monkeypatch.setattr(
        PatternStatistics, "of", partial(lambda of, *told: replace(of(*told), faint_share=faint_share), STATISTICS)
    )


def leaving(monkeypatch, *groups):
    def likelihoods(self, epochs, context):
        assert epochs == (4,)
        assert self.preset.object.slices == 1
        yield groups

    monkeypatch.setattr(Trial, "lbfgs_likelihoods", likelihoods)


@pytest.mark.parametrize(("times", "said"), [(TOO_MUCH - 0.01, None), (TOO_MUCH + 0.01, "1.4"), (4.0, "4")])
def test_one_slice_is_too_little_if_it_leaves_far_more_than_noise(monkeypatch, noise_of_50, times, said):
    leaving(monkeypatch, 0.9 * times * NOISE, 1.1 * times * NOISE)
    words = too_little(thin(scan_of_columns(points=16)), TrialContext(backend="cpu"))
    assert words == (None if said is None else f"one slice leaves {said} times the counting noise")
    assert noise_of_50 == [1.0]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (0.97, "next to nothing but counting noise"),
        (1.06, "1.1 times the counting noise"),
        (120.0, "120 times the counting noise"),
    ],
)
def test_what_is_left_is_said_without_powers_of_ten(times, said):
    assert str(Unexplained((), times)) == f"one slice leaves {said}"


def test_given_counts_per_electron_change_the_noise(monkeypatch, noise_of_50):
    leaving(monkeypatch, 3 * NOISE)
    seen(monkeypatch, 4.0)
    dataset, gain = scan_of_columns(points=16), Quantity(2.5, Origin.GIVEN)
    dataset = replace(dataset, calibration=dataset.calibration.having(counts_per_electron=gain))
    too_little(thin(dataset), TrialContext(backend="cpu"))
    assert noise_of_50 == [2.5]


@pytest.mark.parametrize(("share", "gain"), [(0.9, 1.0), (1.29, 1.0), (1.31, 1.31), (5.2, 5.2)])
def test_counts_that_are_not_electrons_have_more_noise(monkeypatch, noise_of_50, share, gain):
    """Sheets and particles of five counts per electron left 2 to 4 times the noise of electrons."""
    leaving(monkeypatch, 3 * NOISE)
    seen(monkeypatch, share)
    too_little(thin(scan_of_columns(points=16)), TrialContext(backend="cpu"))
    assert noise_of_50 == [gain]


def test_nothing_is_said_where_no_faint_pixels_tell_the_counts_per_electron(monkeypatch, noise_of_50):
    leaving(monkeypatch, 1e6)
    seen(monkeypatch, None)
    assert too_little(thin(scan_of_columns(points=16)), TrialContext(backend="cpu")) is None


def test_nothing_is_said_where_neighbouring_pixels_share_their_noise(monkeypatch):
    leaving(monkeypatch, 1e6)
    monkeypatch.setattr(unexplained, "NOISE_SPREAD", -1.0)
    assert too_little(thin(scan_of_columns(points=16)), TrialContext(backend="cpu")) is None


def test_nor_where_the_noise_is_not_known(monkeypatch):
    leaving(monkeypatch, 1e6)
    monkeypatch.setattr(unexplained, "counting_noise", lambda model, gain: None)
    assert too_little(thin(scan_of_columns(points=16)), TrialContext(backend="cpu")) is None


@pytest.mark.parametrize(
    ("times", "explains", "is_too_little"),
    [
        (0.97, True, False),
        (1.04, True, False),
        (1.09, False, False),
        (1.3, False, False),
        (TOO_MUCH + 0.01, False, True),
    ],
)
def test_one_slice_explains_all_or_is_too_little_or_neither(monkeypatch, times, explains, is_too_little):
    """1.04 is the most that a specimen without depth left, 1.09 the least of a thick crystal."""
    monkeypatch.setattr(OneSlice, "left", Unexplained((times,), times))
    single = OneSlice(thin(scan_of_columns(points=16)), TrialContext(backend="cpu"))
    assert (single.explains_all, single.is_too_little) == (explains, is_too_little)


def test_what_cannot_be_told_is_neither(monkeypatch):
    monkeypatch.setattr(OneSlice, "left", None)
    single = OneSlice(thin(scan_of_columns(points=16)), TrialContext(backend="cpu"))
    assert not (single.explains_all or single.is_too_little)


def test_its_trial_is_run_once(monkeypatch, noise_of_50):
    leaving(monkeypatch, 3 * NOISE)
    single = OneSlice(thin(scan_of_columns(points=16)), TrialContext(backend="cpu"))
    assert single.left is single.left
    assert len(noise_of_50) == 1


@pytest.mark.slow
def test_columns_that_are_thick_are_not_explained_and_a_sheet_is():
    assert too_little(thin(scan_of_columns(thickness_A=70.0, points=16)), TrialContext(backend="cpu")) is not None
    assert too_little(thin(scan_of_columns(thickness_A=2.0, points=16)), TrialContext(backend="cpu")) is None
