"""Packets written bit by bit, following the manual of the detector's software."""

import numpy as np
import pytest

from ptylive.streamer.timepix3.packets import EDGES, Place, decode, survey


def bits(**fields):
    """A word from fields named b<lowest bit>."""
    return sum(int(value) << int(name[1:]) for name, value in fields.items())


def header(chip, words):
    return bits(b0=0x33585054, b32=chip, b48=8 * words)


def hit(row, column, ticks, over=20):
    coarse = -(-ticks // 16)
    address = (column // 2) << 9 | (row // 4) << 3 | (column % 2) << 2 | row % 4
    return bits(b60=0xB, b44=address, b30=coarse & 0x3FFF, b20=over, b16=16 * coarse - ticks, b0=coarse >> 14 & 0xFFFF)


def edge(kind, ticks, fine=1):
    return bits(b60=6, b56=kind, b44=7, b12=ticks // 16 & 0xFFFFFFFF, b9=ticks % 16 // 2, b5=fine)


def words_of(*chunks):
    return np.array([word for chip, words in chunks for word in (header(chip, len(words)), *words)], dtype="<u8")


def drawn(seed, hits=300, begins=0):
    """Words of some chips with hits and edges nearly in order, and their content: (chip, row, column, ticks), edges."""
    rng = np.random.default_rng(seed)
    said, edges, chunks = [], [], []
    ticks = np.sort(begins + rng.integers(0, 2**26, hits)) + rng.integers(-3000, 3000, hits)
    for part in np.array_split(ticks, 20):
        chip, words = int(rng.integers(4)), []
        for time in part.tolist():
            if rng.random() < 0.1:
                kind = int(rng.choice(list(EDGES)))
                edges.append((time // 2 * 2, kind))
                words.append(edge(kind, time // 2 * 2))
            else:
                row, column = rng.integers(0, 256, 2).tolist()
                said.append((chip, row, column, time))
                words.append(hit(row, column, time))
        chunks.append((chip, words))
    return words_of(*chunks), said, edges


def told(packets):
    address = packets.hits.address.astype(int)
    columns = address >> 16, address >> 8 & 255, address & 255, packets.hits.times
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hits_and_edges(seed):
    words, said, edges = drawn(seed, begins=2**27)
    packets, place = decode(words, Place())
    assert told(packets) == said
    assert list(zip(packets.edges.times.tolist(), packets.edges.kinds.tolist(), strict=True)) == edges
    assert (packets.lost, packets.untimed, place.left) == (0, 0, 0)
    assert packets.chips == {chip for chip, *_ in said}
    assert set(packets.hits.over_threshold.tolist()) == {20}


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_cut_anywhere_it_is_the_same(seed):
    words, said, _ = drawn(seed, begins=2**27)
    rng = np.random.default_rng(seed)
    cuts, place, found = np.sort(rng.choice(len(words), 12, replace=False)), Place(), []
    for part in np.split(words, cuts):
        packets, place = decode(part, place)
        found += told(packets)
        assert packets.lost == 0
    assert found == said


@pytest.mark.parametrize("begins", [2**34 - 2**25, 3 * 2**34 - 1000])
def test_times_go_on_where_their_bits_begin_anew(begins):
    words, said, edges = drawn(7, begins=begins)
    packets, _ = decode(words, Place())
    shift = packets.hits.times[0] - said[0][-1]
    assert shift % 2**34 == 0
    np.testing.assert_array_equal(packets.hits.times - shift, [time for *_, time in said])
    np.testing.assert_array_equal(packets.edges.times - shift, [time for time, _ in edges])


@pytest.mark.parametrize("seed", [8, 9, 10])
def test_a_survey_sees_the_same(seed):
    words, _, _ = drawn(seed, begins=2**34 - 2**25)
    place = Place()
    for part in np.array_split(words, 5):
        packets, after = decode(part, place)
        found, surveyed = survey(part, place)
        np.testing.assert_array_equal(found.edges.times, packets.edges.times)
        np.testing.assert_array_equal(found.edges.kinds, packets.edges.kinds)
        times = packets.hits.times
        assert found.span[0] <= times.min()
        assert times.max() <= found.span[1]
        assert found.chips >= packets.chips
        assert abs(surveyed.time - after.time) < 2**29  # so near that what follows is assigned to the same turn
        assert (surveyed.chip, surveyed.left) == (after.chip, after.left)
        place = surveyed


def test_what_stands_outside_of_chunks_is_left_out():
    words, said, _ = drawn(11)
    rng = np.random.default_rng(11)
    rubbish = rng.integers(0, 2**63, 9, dtype=np.uint64)
    damaged = np.concatenate([rubbish[:4], words, rubbish[4:]])
    packets, _ = decode(damaged, Place())
    assert (told(packets), packets.lost) == (said, 9)
    assert survey(damaged, Place())[0].lost == 9


@pytest.mark.parametrize("gone", [1, 2])
def test_a_chunk_that_is_cut_short_ends_at_the_next_one(gone):
    first, second = [hit(1, 2, 3200), hit(2, 3, 3300)], [hit(4, 5, 3400), hit(6, 7, 3500), hit(8, 9, 3600)]
    words = np.concatenate([words_of((0, first))[:-gone], words_of((1, second))])
    packets, _ = decode(words, Place())
    assert told(packets)[2 - gone :] == [(1, 4, 5, 3400), (1, 6, 7, 3500), (1, 8, 9, 3600)]
    assert packets.lost == 0


def test_an_edge_whose_time_is_invalid_is_none():
    words = words_of((0, [edge(0xF, 1600), edge(0xF, 3200, fine=0), edge(0xA, 4800, fine=13)]))
    packets, _ = decode(words, Place())
    assert packets.edges.times.tolist() == [1600]


def test_hits_that_tell_no_time_are_counted():
    packets, _ = decode(words_of((0, [bits(b60=0xA, b44=3), bits(b60=0xA, b44=4)])), Place())
    assert (packets.untimed, len(packets.hits.times)) == (2, 0)
    assert survey(words_of((0, [bits(b60=0xA)])), Place())[0].untimed == 1


def test_times_at_which_the_shutter_opens_are_decoded():
    opened = bits(b60=5, b56=0xF, b12=500)
    packets, _ = decode(words_of((0, [opened, hit(0, 0, 16 * 600)])), Place())
    assert packets.opened.tolist() == [500 * 16]
    assert survey(words_of((0, [opened])), Place())[0].opened.tolist() == [500 * 16]


def test_nothing_at_all():
    empty = np.zeros(0, dtype="<u8")
    assert decode(empty, Place())[1] == Place()
    assert survey(empty, Place())[1] == Place()
    assert survey(np.arange(5, dtype="<u8"), Place())[0].lost == 5
