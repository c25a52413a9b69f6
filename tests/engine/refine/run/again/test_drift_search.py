"""Search for the drift at which a loss has no slope."""

import numpy as np
import pytest

from ptylive.engine.probe import Probe
from ptylive.engine.refine.run.again.drift_search import LEAST_LEFT, LEFT, LEFT_OF_SEVERAL, SMALL, DriftSearch
from ptylive.engine.refine.run.again.strained_scan import NOISE as MAY_BE_NOISE
from ptylive.engine.refine.run.again.strained_scan import Slopes

TRUE = np.array([1.2, -0.5])
CURVATURE = np.array([[3.0, 0.8], [0.8, 5.0]])
NOISE = np.diag([1e-4, 4e-4])


def slopes_at(point, curvature=CURVATURE):
    return Slopes(curvature @ (TRUE - point), NOISE)


def probe(resolution_A=10.0, focus_A=100.0):
    """A probe of this resolution and depth of focus."""
    wavelength_A = resolution_A**2 / focus_A
    return Probe.of(wavelength_A, 1e3 * wavelength_A / resolution_A, 0.01, {})


def begun(held, longest_A=10.0):
    return DriftSearch.begin(np.zeros(2), slopes_at(np.zeros(2)), np.asarray(held), probe(longest_A))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_the_minimum_of_a_parabola_is_found_in_a_few_steps(share):
    """``share``: of the curvature with the object's values held that is left when they follow."""
    search = begun(np.diag(CURVATURE) / share)
    for _ in range(5):
        point = search.point + search.step
        search = search.then(point, slopes_at(point))
    np.testing.assert_allclose(search.point, TRUE, atol=0.03)


def test_the_first_step_is_that_of_a_newton_method_with_the_share_that_is_left():
    held = np.array([8.0, 4.0])
    np.testing.assert_allclose(begun(held).step, slopes_at(np.zeros(2)).falls / (LEFT * held))


def test_several_slices_leave_less_of_the_curvature():
    held, slopes = np.array([8.0, 4.0]), slopes_at(np.zeros(2))
    several = DriftSearch.begin(np.zeros(2), slopes, held, probe(), several=True)
    np.testing.assert_allclose(several.step, slopes.falls / (LEFT_OF_SEVERAL * held))


def test_the_way_to_a_point_is_compared_with_the_step_in_the_metric_of_the_curvature():
    search = DriftSearch(np.zeros(2), Slopes(np.array([1.0, 0.0]), NOISE), np.diag([1.0, 4.0]), 10.0)
    assert search.leads_towards(np.array([3.0, 0.0])) == pytest.approx(1.0)
    assert search.leads_towards(np.array([-3.0, 0.0])) == pytest.approx(-1.0)
    assert search.leads_towards(np.array([2.0, 1.0])) == pytest.approx(2 / np.sqrt(8))


def test_no_step_is_longer_than_allowed_and_its_direction_stays():
    free, short = begun([0.1, 0.1]).step, begun([0.1, 0.1], longest_A=0.3).step
    assert np.linalg.norm(short) == pytest.approx(0.3)
    np.testing.assert_allclose(short / 0.3, free / np.linalg.norm(free))


def test_after_a_step_the_curvature_explains_the_change_of_the_slopes():
    search = begun([8.0, 12.0])
    after = search.then(search.step, slopes_at(search.step))
    np.testing.assert_allclose(after.curvature @ search.step, CURVATURE @ search.step)


@pytest.mark.parametrize("factor", [0.01, 0.0, -1.0])
def test_slopes_that_hardly_change_do_not_lead_to_a_leap(factor):
    """An object that has not followed yet shows nearly the same slope again, or even a steeper one."""
    search = begun([8.0, 12.0])
    point, step = search.step, search.step
    changed = search.curvature @ step * factor
    after = search.then(point, Slopes(search.slopes.falls - changed, NOISE))
    expected = LEAST_LEFT * float(step @ search.curvature @ step)
    assert float(step @ after.curvature @ step) == pytest.approx(expected)
    assert np.linalg.eigvalsh(after.curvature).min() > 0


def test_a_loss_that_is_flat_with_its_object_held_gives_no_infinite_step():
    assert np.isfinite(begun([0.0, 0.0]).step).all()
    assert np.isfinite(begun([-3.0, 5.0]).step).all()


def test_the_uncertainty_is_that_of_the_slopes_over_the_curvature():
    search = DriftSearch(np.zeros(2), slopes_at(np.zeros(2)), np.diag([2.0, 4.0]), 1.0)
    np.testing.assert_allclose(search.uncertainty, np.diag([1e-4 / 4, 4e-4 / 16]))


def test_a_lead_is_followed_first_and_once():
    search = begun([8.0, 12.0], longest_A=0.1).leading_to(np.array([1.0, 1.0]))
    np.testing.assert_array_equal(search.step, [1.0, 1.0])
    after = search.then(np.array([1.0, 1.0]), slopes_at(np.array([1.0, 1.0])))
    assert after.lead is None and np.linalg.norm(after.step) == pytest.approx(0.1)


def test_a_search_is_settled_by_slopes_that_may_be_noise_or_by_a_step_that_does_not_matter():
    def settled(chi_squared, step_A):
        slopes = Slopes(np.array([np.sqrt(chi_squared), 0.0]), np.eye(2))
        held = np.full(2, np.sqrt(chi_squared) / step_A / LEFT)
        return DriftSearch.begin(np.zeros(2), slopes, held, probe(1.0)).is_settled

    noise, large = 2 * MAY_BE_NOISE, 10 * SMALL
    assert settled(0.99 * noise, large)
    assert not settled(1.01 * noise, large)
    assert not settled(1.01 * noise, 1.01 * SMALL)
    assert settled(1.01 * noise, 0.99 * SMALL)


TOGETHER = np.array([[3.0, 0.0, 0.25], [0.0, 5.0, 0.0], [0.25, 0.0, 0.03]])
"""Curvature in two strains and an aberration, which hides most of the first one."""
PLACE = np.array([1.2, -0.5, -6.0])


def with_optics(point, scale=1.0):
    return Slopes(scale * TOGETHER @ (PLACE - point), TOGETHER * 1e-4, optics=1)


def begun_with_optics(**lengths):
    held = np.diag(TOGETHER) / LEFT
    return DriftSearch.begin(np.zeros(3), with_optics(np.zeros(3)), held, probe(**lengths))


def test_what_strains_and_aberrations_have_in_common_is_known_from_the_scatter_of_the_slopes():
    search = begun_with_optics()
    np.testing.assert_allclose(search.curvature, TOGETHER)
    np.testing.assert_allclose(search.step, PLACE)


@pytest.mark.parametrize(("lengths", "share"), [({"resolution_A": 0.65}, 0.5), ({"focus_A": 3.0}, 0.5)])
def test_no_step_exceeds_the_resolution_or_the_depth_of_focus(lengths, share):
    search = begun_with_optics(**lengths)
    np.testing.assert_allclose(search.step, share * PLACE)
    resolution_A = lengths.get("resolution_A", 10.0)
    assert search.step_share == pytest.approx(share * 1.3 / resolution_A), "of the strains"


def test_a_search_is_settled_if_the_strains_are_whatever_the_optics():
    held = np.diag(TOGETHER) / LEFT
    optics_alone = Slopes(TOGETHER[:, 2] * 5.0, TOGETHER * 1e-4, optics=1)
    assert DriftSearch.begin(np.zeros(3), optics_alone, held, probe()).is_settled


def test_on_the_way_to_a_lead_the_aberrations_follow():
    search = begun_with_optics()
    lead = search.leading_to(np.array([0.6, -0.5, 99.0])).step
    np.testing.assert_allclose(lead[:2], [0.6, -0.5])
    left = TOGETHER @ (PLACE - lead)
    assert left[2] == pytest.approx(0.0, abs=1e-12)
    assert search.leads_towards(np.array([1.2, -0.5, 99.0])) == pytest.approx(1.0)
    short = begun_with_optics(focus_A=0.5).leading_to(np.array([0.6, -0.5, 99.0]))
    np.testing.assert_allclose(short.step, [0.6, -0.5, np.copysign(0.5, lead[2])])
    across = np.array([1.0, 0.0]), np.array([1.2, -0.5])
    metric = np.diag([3.0 - 0.25**2 / 0.03, 5.0])
    cosine = (
        across[0] @ metric @ across[1] / np.sqrt((across[0] @ metric @ across[0]) * (across[1] @ metric @ across[1]))
    )
    assert search.leads_towards(np.array([1.0, 0.0, 0.0])) == pytest.approx(cosine)


def test_a_flat_loss_in_the_optics_does_not_stiffen_the_strains():
    """Nor do strains, a thousand times as stiff per Å, stiffen the optics."""
    held = np.array([8000.0, 12000.0, 1.0])
    search = DriftSearch.begin(np.zeros(3), with_optics(np.zeros(3)), held, probe())
    np.testing.assert_allclose(np.diag(search.curvature), LEFT * held)
    flat = DriftSearch.begin(np.zeros(3), with_optics(np.zeros(3)), np.array([8.0, 12.0, 0.0]), probe())
    np.testing.assert_allclose(np.diag(flat.curvature)[:2], LEFT * np.array([8.0, 12.0]))
    assert np.isfinite(flat.step).all()
