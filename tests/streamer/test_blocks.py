"""Blocks of patterns from many messages, and the memory that holds them."""

import numpy as np
import pytest

from ptylive.schema import FrameBatch
from ptylive.streamer import blocks
from ptylive.streamer.blocks import BlockMemory, FrameBlock
from ptylive.streamer.fast.coded import CodedBatch
from ptylive.streamer.wire import FrameLayout

INDEX = np.array([4, 5, 6, 9, 10, 3])


@pytest.mark.parametrize(("longest", "runs"), [(4096, [(0, 3), (3, 5), (5, 6)]), (2, [(0, 2), (2, 3), (3, 5), (5, 6)])])
def test_runs_are_of_consecutive_numbers_and_no_longer_than_a_message(monkeypatch, longest, runs):
    monkeypatch.setattr(blocks, "MAX_BATCH", longest)
    assert [*FrameBlock(FrameBatch("u", INDEX, np.zeros((6, 2, 2))), "none").runs()] == runs


def test_a_run_of_plain_patterns_is_one_part():
    frames = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    head, lengths, payload = FrameBlock(FrameBatch("u", INDEX, frames), "none").message(3, 5)
    assert (head.uid, head.first, head.count, head.codec) == ("u", 9, 2, "none")
    assert lengths == [8] and bytes(payload) == frames[3:5].tobytes()


@pytest.mark.parametrize(("start", "stop", "lengths"), [(0, 3, [2, 1, 4]), (3, 5, [3, 5]), (5, 6, [1])])
def test_a_run_of_coded_patterns_has_a_part_for_each(start, stop, lengths):
    data, ends = np.arange(16, dtype=np.uint8), np.array([2, 3, 7, 10, 15, 16])
    coded = CodedBatch("u", INDEX, data, ends, FrameLayout((2, 2), np.dtype("u1")))
    head, found, payload = FrameBlock(coded, "bslz4").message(start, stop)
    first = int(ends[start - 1]) if start else 0
    assert (head.first, head.count, found) == (INDEX[start], stop - start, lengths)
    assert bytes(payload) == data[first : ends[stop - 1]].tobytes()


def test_a_detector_s_own_coding_is_written_decoded():
    pixels = np.arange(4, dtype="<u2")
    block = FrameBlock(FrameBatch("u", np.array([7, 8]), None), "none", decode=lambda: pixels.view(np.uint8))
    message = block.decoded()
    assert (message.first, message.count, bytes(message.parts[0])) == (7, 2, pixels.tobytes())
    written = block.in_bytes(FrameLayout((1, 2), np.dtype("<u2")))
    np.testing.assert_array_equal(written.batch.frames, [[[0, 1]], [[2, 3]]])
    assert written.decode is None and written.in_bytes(FrameLayout((1, 2), np.dtype("<u2"))) is written


def test_memory_is_used_again_once_nobody_holds_it():
    memory = BlockMemory()
    memory.shape(8)
    held = memory.block()
    other = memory.block()
    assert other is not held and len(held) == len(other) == 8
    address = other.__array_interface__["data"]
    del other
    assert memory.block().__array_interface__["data"] == address
    memory.shape(16)
    assert len(memory.block()) == 16


def test_only_some_blocks_are_kept(monkeypatch):
    monkeypatch.setattr(blocks, "_KEPT_BLOCKS", 2)
    memory = BlockMemory()
    memory.shape(8)
    held = [memory.block() for _ in range(5)]
    assert len({block.__array_interface__["data"] for block in held}) == 5
    assert len(memory._blocks) == 2
