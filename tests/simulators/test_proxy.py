"""A network that fails: the stream recovers, the scan ends complete, and no damaged data are accepted."""

import threading
import time
from pathlib import Path

import pytest
from quick_first import quick_first
from replay_tools import control_of, native
from stream_tools import digests_of_file, running

from ptylive.simulators.proxy import FaultyProxy, ProxyFaults
from ptylive.simulators.replay import ReplaySettings, replay


def test_slow_jittery_sliced_connections_change_nothing(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    faults = ProxyFaults(seed=1, latency_s=0.001, jitter_s=0.002, slice_bytes=9000, bandwidth=2e6)
    with running() as run, FaultyProxy(run.address, faults) as proxy:
        report = replay(path, ReplaySettings(to=proxy.address, batch=16))
        run.wait_for_state("complete")
        assert run.frames[report.uids[0]] == digests_of_file(path)
        assert proxy.connections == 1
        assert proxy.passed > 400 * 16 * 16 * 2


def test_connections_cut_again_and_again_lose_nothing_with_a_control_address(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    faults = ProxyFaults(reset_after_bytes=60_000)
    with (
        running(tmp_path / "out") as run,
        control_of(run.receiver.safe_ranges) as control,
        FaultyProxy(run.address, faults) as proxy,
    ):
        report = replay(path, ReplaySettings(to=proxy.address, control=control, batch=8))
        run.wait_for_state("complete")
        assert proxy.resets > 1
        assert report.resent > 0
        assert digests_of_file(Path(run.receiver.status().recording)) == digests_of_file(path)


def test_a_stalled_connection_goes_on_when_it_moves_again(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    with running() as run, FaultyProxy(run.address, ProxyFaults(stalled=True)) as proxy:
        sending = threading.Thread(target=replay, args=(path, ReplaySettings(to=proxy.address)))
        sending.start()
        time.sleep(0.5)
        assert run.receiver.status().state == "waiting"
        proxy.faults = ProxyFaults()
        run.wait_for_state("complete")
        sending.join(60)
        assert not sending.is_alive()


def test_cut_connections_come_back(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    with running() as run, FaultyProxy(run.address) as proxy:
        settings = ReplaySettings(to=proxy.address, batch=4, rate=200.0)
        sending = threading.Thread(target=replay, args=(path, settings))
        sending.start()
        run.wait(lambda: run.receiver.status().frames > 20)
        proxy.reset()
        sending.join(60)
        assert proxy.connections == 2
        (end,) = run.wait_for_ends(1)
        assert end.summary.placed > 300


@pytest.mark.parametrize("seed", quick_first(range(4), 2))
def test_flipped_bits_never_stop_the_receiver(tmp_path: Path, seed: int) -> None:
    """ZeroMQ itself may drop the connection; what gets through is placed or refused, and the next scan is complete."""
    path = native(tmp_path / "a.h5")
    faults = ProxyFaults(seed=seed, flip_every_bytes=20_000)
    with running(idle_timeout_s=1.0) as run, FaultyProxy(run.address, faults) as proxy:
        replay(path, ReplaySettings(to=proxy.address, batch=4, codec="bslz4"))
        proxy.faults = ProxyFaults()
        report = replay(path, ReplaySettings(to=proxy.address))
        run.wait_for_whole(report.uids[0])
        assert run.frames[report.uids[0]] == digests_of_file(path)
