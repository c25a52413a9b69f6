"""Sums over tiles are correct and identical to the last bit everywhere; requests reach all tiles at the same point."""

import numpy as np
import pytest

from ptylive.engine.refine.tiles.cutting import cut as cut_rows
from ptylive.engine.refine.tiles.exchange import KEEP, STOP, Exchange, Shared
from ptylive.engine.refine.tiles.links import LinkLost, ThreadLinks

WINDOW, ROWS, COLUMNS = 16, 90, 5


def talkers(tiles, count=60):
    first_rows = np.random.default_rng(tiles).integers(1, ROWS - WINDOW, count)
    links = ThreadLinks(tiles)
    return [Exchange(tile, links.of(tile.number)) for tile in cut_rows(first_rows, WINDOW, ROWS, tiles)]


@pytest.mark.parametrize("tiles", range(1, 8))
def test_totals_are_the_same_everywhere(cut, tiles):
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(tiles, 3))
    arrays = rng.normal(size=(tiles, 7)).astype(np.float32)
    talking = talkers(tiles)
    found = cut.together(
        [lambda n=n: talking[n].total([numbers[n, 0]], list(numbers[n, 1:]), arrays[n]) for n in range(tiles)]
    )
    for one in found:
        assert one.sums.tobytes() == found[0].sums.tobytes()
        assert one.array.tobytes() == found[0].array.tobytes()
        assert one.array.dtype == np.float32
    np.testing.assert_allclose(found[0].sums, [numbers[:, 0].sum()], rtol=1e-12)
    assert found[0].peaks.tolist() == numbers[:, 1:].max(axis=0).tolist()
    # seven numbers of size 1 added in single precision
    np.testing.assert_allclose(found[0].array, arrays.sum(axis=0), atol=1e-5)


@pytest.mark.parametrize("tiles", [1, 2, 3, 5])
def test_rows_gain_what_all_tiles_have_for_them(cut, tiles):
    talking = talkers(tiles)
    rng = np.random.default_rng(1)
    cuts = [one._tile for one in talking]
    gains, light = [], []
    whole, whole_light = np.zeros((2, ROWS, COLUMNS)), np.zeros((1, ROWS, COLUMNS), np.float32)
    for tile in cuts:
        for planes, total, kept in ((2, whole, gains), (1, whole_light, light)):
            mine = np.zeros((planes, tile.rows[1] - tile.rows[0], COLUMNS), total.dtype)
            lit = tile.local(tile.lit)
            mine[:, lit] = rng.normal(size=mine[:, lit].shape)
            total[:, slice(*tile.lit)] += mine[:, lit]
            kept.append(mine)
    cut.together([lambda n=n: talking[n].add_seams([gains[n], light[n]]) for n in range(tiles)])
    seen = {}
    for tile, mine, glow in zip(cuts, gains, light, strict=True):
        np.testing.assert_allclose(mine, whole[:, slice(*tile.rows)], atol=1e-12)
        np.testing.assert_allclose(glow, whole_light[:, slice(*tile.rows)], atol=1e-5)
        for row in range(*tile.rows):
            copy = mine[:, row - tile.rows[0]].tobytes()
            assert seen.setdefault(row, copy) == copy


@pytest.mark.parametrize("tiles", [1, 2, 3, 4])
@pytest.mark.parametrize("lit", [True, False])
def test_seams_and_sums_at_once_are_those_one_after_the_other(cut, tiles, lit):
    """They agree to the last bit; two tiles need one message each."""
    rng = np.random.default_rng(2)
    at_once, in_turn = talkers(tiles), talkers(tiles)
    planes, light, sums, arrays = [], [], rng.normal(size=tiles), rng.normal(size=(tiles, 4)).astype(np.float32)
    for one in at_once:
        tile = one._tile
        for number, kept in ((2, planes), (1, light)):
            mine = np.zeros((number, tile.rows[1] - tile.rows[0], COLUMNS), np.float32)
            mine[:, tile.local(tile.lit)] = rng.random(mine[:, tile.local(tile.lit)].shape)
            kept.append(mine)

    def said_in_turn(n, gain, glow):
        tile = in_turn[n]._tile
        in_turn[n].add_seams([gain, *glow])
        peak = max((float(one[:, tile.local(tile.own)].max(initial=0.0)) for one in glow), default=0.0)
        return gain, glow, in_turn[n].total([sums[n]], [peak], arrays[n])

    def said_at_once(n, gain, glow):
        return gain, glow, at_once[n].add_seams_and_total([gain], glow[0] if glow else None, [sums[n]], arrays[n])

    def all_say(say):
        given = [(n, planes[n].copy(), [light[n].copy()] if lit else []) for n in range(tiles)]
        return cut.together([lambda one=one: say(*one) for one in given])

    for (gain, glow, found), (expected, expected_glow, wanted) in zip(
        all_say(said_at_once), all_say(said_in_turn), strict=True
    ):
        assert gain.tobytes() == expected.tobytes()
        assert [one.tobytes() for one in glow] == [one.tobytes() for one in expected_glow]
        assert [part.tobytes() for part in found] == [part.tobytes() for part in wanted]


def test_what_one_wishes_all_agree_on_at_the_next_sum(cut):
    talking = talkers(3)
    talking[2].wish(KEEP)

    def talk(number):
        found = [talking[number].agreed()]
        for step in range(3):
            if step == 1 and number == 1:
                talking[number].wish(STOP)
            talking[number].total([0.0])
            found.append(talking[number].agreed())
        return found

    expected = [(False, False), (False, True), (True, False), (False, False)]
    assert cut.together([lambda n=n: talk(n) for n in range(3)]) == [expected] * 3


def test_tiles_at_different_points_are_no_sum():
    with pytest.raises(LinkLost, match="out of step"):
        Shared(np.zeros(3), np.zeros(0), np.zeros(2)).like(b"12345678")


def test_time_and_bytes_are_counted(cut):
    talking = talkers(2)
    cut.together([lambda n=n: talking[n].total([1.0, 2.0]) for n in range(2)])
    assert [one.sent_bytes for one in talking] == [8 * 4] * 2  # including two requests
    assert all(one.seconds > 0 for one in talking)
