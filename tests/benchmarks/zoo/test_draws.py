"""Draws of the zoo: reproducible from the seed, within what a microscope can do, and of every kind."""

import json
from dataclasses import replace

import numpy as np
import pytest
import zoo_scans  # noqa: F401  (makes the benchmarks importable)

from benchmarks.zoo.draws import COUNT, KIND_OF, KINDS, SETS, Draw, draw, draws, specimens, wavelength_A

ALL = [one for which in SETS for one in draws(which)]


def test_the_same_seed_draws_the_same():
    assert draws("development", count=5) == draws("development", count=5)
    assert draw("closed", 7) == draws("closed")[7]


def test_another_seed_number_or_set_draws_another():
    first = draw("development", 0)
    for other in (draw("development", 0, seed=1), draw("development", 17), draw("closed", 0)):
        assert other.semiangle_mrad != first.semiangle_mrad


def test_every_specimen_appears_in_a_round():
    for which in SETS:
        kinds = specimens(which)
        assert {one.specimen for one in draws(which, count=len(kinds))} == set(kinds)


def test_further_specimens_are_others():
    assert not set(specimens("further")) & set(specimens("development"))
    assert specimens("development") == specimens("closed")


def test_every_specimen_has_one_kind_whatever_the_set_of_its_draw_is_called():
    assert KIND_OF == {**specimens("development"), **specimens("further")}
    assert set(KIND_OF.values()) == set(KINDS)
    assert replace(draw("further", 0), set="side by side").kind == draw("further", 0).kind


@pytest.mark.parametrize(
    ("which", "index", "seed", "line"),
    [
        ("development", 3, 1, "amorphous_silica 48 Å, 200 kV, 9.4 mrad, defocus +568 Å, 33×27 × 1.99 Å, 96 px"),
        ("closed", 11, 2, "silicon_001 142 Å, 200 kV, 16.6 mrad, defocus -52 Å, 25×26 × 0.66 Å, 64 px"),
        ("further", 20, 5, "gold_in_vacuum 28 Å, 300 kV, 16.3 mrad, defocus -180 Å, 26×28 × 0.84 Å, 96 px"),
    ],
)
def test_published_draws_stay_what_they_were(which, index, seed, line):
    """The order of the specimens and of the sets is part of what they are made from."""
    assert draw(which, index, seed).line().startswith(line)


def test_names_are_unique():
    assert len({one.name for one in ALL}) == len(SETS) * COUNT


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_draws_are_microscopes(one):
    kind = KINDS[one.kind]
    assert 30e3 <= one.energy_eV <= 300e3 and one.energy_eV / 1e3 in kind.energies_kV
    assert 5 <= one.semiangle_mrad <= 35
    assert 1e2 <= one.dose <= 1e6 or one.electrons == pytest.approx(30, rel=0.01)
    assert all(kind.points[0] <= n <= kind.points[1] for n in one.shape)
    assert one.electrons >= 29.9  # rounded to three digits
    # the defocused beam fits well into the window at the entrance and at the exit
    radius = 1e-3 * one.semiangle_mrad * max(abs(one.defocus_A), abs(one.thickness_A - one.defocus_A))
    assert radius < 0.5 * one.window_A
    if one.kind == "crystal":
        assert one.thickness_A / one.slices <= 25


def test_all_kinds_of_accidents_happen():
    assert {np.sign(one.defocus_A) for one in ALL} == {-1, 0, 1}
    for name in ("astigmatism_A", "source_A", "focal_spread_A", "jitter_A", "bad_pixels", "flyback", "rotation_deg"):
        assert 0 < sum(bool(getattr(one, name)) for one in ALL) < len(ALL), name
    assert 0 < sum(any(one.drift_A) for one in ALL) < len(ALL)
    assert 0 < sum(any(one.descan_px) for one in ALL) < len(ALL)
    assert {one.transform for one in ALL} == {"none", "transpose", "flip_rows"}


def test_crystals_are_thin_and_thick():
    thick = sorted(one.thickness_A for one in ALL if one.kind == "crystal")
    assert 50 <= thick[0] < 100 and 200 < thick[-1] <= 300


def test_a_draw_survives_json():
    told = json.loads(json.dumps(ALL[0].as_dict()))
    assert Draw(**{key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}) == ALL[0]


def test_the_wavelength_is_the_tabulated_one():
    assert wavelength_A(200e3) == pytest.approx(0.0250793, rel=1e-5)  # tabulated
    assert wavelength_A(30e3) == pytest.approx(0.0697908, rel=1e-4)


def test_a_set_that_is_not_there():
    with pytest.raises(ValueError, match="development, closed, further"):
        draw("open", 0)
