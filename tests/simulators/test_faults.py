"""Faults are reproducible, and a native scan survives each of them."""

from pathlib import Path

import pytest
from quick_first import quick_first
from replay_tools import native
from stream_tools import digests_of_file, make_frames, make_header, messages_of, running

from ptylive.simulators.faults import Faults
from ptylive.simulators.replay import ReplaySettings, replay


@pytest.mark.parametrize(
    "faults",
    [
        Faults(seed=1, shuffle=10, loss=0.1, duplicate=0.1),
        Faults(seed=1, corrupt=0.3),
        Faults(seed=1, wrong_shape=0.3),
        Faults(seed=1, abort_at=17),
    ],
)
def test_the_same_seed_makes_the_same_faults(faults: Faults) -> None:
    header = make_header()
    messages = messages_of(header, make_frames(header), batch=1)
    once = list(faults.apply(messages))
    assert once == list(faults.apply(messages))
    assert once != messages


def test_a_stall_comes_at_its_message_and_an_abort_ends_the_stream() -> None:
    header = make_header()
    messages = messages_of(header, make_frames(header), batch=1)
    said: list[object] = []
    for message in Faults(stall_at=5, stall_s=0.25, abort_at=9, shuffle=4).apply(messages, said.append):
        said.append(message.first)
    assert said.index(0.25) == 5
    assert sorted(map(int, said[:5])) == [0, 1, 2, 3, 4]  # type: ignore[call-overload]
    assert len(said) == 10


@pytest.mark.parametrize(
    ("codec", "reasons"),
    quick_first([("bslz4", {"corrupt", "wrong_size"}), ("none", {"truncated", "oversized"})]),
)
def test_damaged_patterns_are_refused_and_nothing_else(tmp_path: Path, codec: str, reasons: set[str]) -> None:
    path = native(tmp_path / "a.h5")
    faults = Faults(seed=5, corrupt=0.05, wrong_shape=0.05)
    with running(tmp_path / "out", idle_timeout_s=1.0) as run:
        settings = ReplaySettings(to=run.address, batch=2, codec=codec, faults=faults)  # type: ignore[arg-type]
        report = replay(path, settings)
        run.wait_for_state("incomplete")
        status = run.receiver.status()
        got = run.frames[report.uids[0]]
        assert set(status.rejected) == reasons
        assert len(got) == 400 - status.lost < 400
        assert got.items() <= digests_of_file(path).items()
        assert digests_of_file(Path(status.recording)) == got


def test_an_aborted_sender_leaves_an_aborted_scan(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    with running(idle_timeout_s=1.0) as run:
        replay(path, ReplaySettings(to=run.address, batch=10, faults=Faults(abort_at=20, stall_at=10, stall_s=0.1)))
        (end,) = run.wait_for_ends(1)
        assert (end.reason, end.summary.placed, end.summary.lost) == ("aborted", 200, 200)
