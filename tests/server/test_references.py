"""Dark and gain reference through real processes: the maps are those of the counts, and the recording states why."""

import os
import signal

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
from running import last_json, ptylive_here, server

from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.recording.recording_writer import created_scan
from ptylive.streamer.source import open_source

SCAN = "au_ac_300kV_parallax"


def maps_of(path) -> dict:
    with h5py.File(path) as file:
        return {name: data[()] for name, data in file["maps"].items()}


@pytest.fixture
def recorded(tmp_path):
    """A scan as recorded by a detector with half counts and a bias, with its references: exact in single precision."""
    with open_source(bundled(SCAN)) as source:
        header, counts = source.header, source.frames(np.arange(source.frame_count))
    dark = np.random.default_rng(3).integers(0, 200, header.detector_shape)
    np.save(tmp_path / "gain.npy", np.full(header.detector_shape, 0.5))
    with created_scan(tmp_path / "dark.h5", header.renamed("dark", "dark")) as writer:
        writer.add_frames(np.arange(3), np.stack([dark - 1 * (dark > 0), dark, dark + 1 * (dark > 0)]).astype("u2"))
        writer.finish(marks=False)
    with created_scan(tmp_path / "scan.h5", header.renamed("recorded", "recorded")) as writer:
        writer.add_frames(np.arange(len(counts)), (2 * counts + dark).astype("u2"))
        writer.finish(marks=False)
    return tmp_path / "scan.h5", counts, dark


@pytest.mark.slow
def test_a_scan_is_corrected_live_recorded_as_it_came_and_converted(recorded, tmp_path):
    scan, counts, dark = recorded
    config = tmp_path / "microscope.toml"
    config.write_text(f'[detector]\ngain_reference = "{tmp_path / "gain.npy"}"\n')
    given = ("--config", str(config), "--set", f"dark_reference={tmp_path / 'dark.h5'}")
    with server(tmp_path / "recordings", *given) as running:
        for name in ("gain.npy", "dark.h5"):
            (tmp_path / name).unlink()
        assert "frames at" in running.process.stderr.readline()  # a process killed while it starts ends the server
        os.kill(running.status()["pids"]["acquire"], signal.SIGKILL)
        running.wait_for(lambda status: status["restarts"] == 1)  # with the references read at the start
        replay(scan, ReplaySettings(to=running.data))
        status = running.wait_for_results()
        assert (status["state"], status["rejected"]) == ("complete", {})
    last_json(ptylive_here("reconstruct", bundled(SCAN), "-o", tmp_path / "straight.h5", "--json"))
    last_json(ptylive_here("reconstruct", status["recording"], "-o", tmp_path / "again.h5", "--json"))
    wanted, live, again = (maps_of(p) for p in (tmp_path / "straight.h5", status["results"], tmp_path / "again.h5"))
    assert set(wanted) == set(live) == set(again)
    for name, data in wanted.items():
        assert np.abs(live[name] - data).max() <= 1e-5 * np.abs(data).max(), name
        assert np.abs(again[name] - data).max() <= 1e-5 * np.abs(data).max(), name
    with open_source(status["recording"]) as source:
        np.testing.assert_array_equal(source.header.arrays["dark_reference"], dark)
        np.testing.assert_array_equal(source.frames(np.arange(3)), 2 * counts[:3] + dark)
    last_json(ptylive_here("convert", status["recording"], tmp_path / "counts.h5", "--json"))
    with open_source(tmp_path / "counts.h5") as source:
        assert source.header.arrays == {}
        np.testing.assert_array_equal(source.frames(np.arange(len(counts))), counts)


def test_what_is_no_reference_is_refused_in_a_line(recorded, tmp_path):
    scan, _, _ = recorded
    np.save(tmp_path / "small.npy", np.zeros((4, 4)))
    for value, words in (
        (tmp_path / "absent.npy", "absent.npy"),
        (tmp_path / "small.npy", "dark_reference is 4 x 4"),
        ("", "dark_reference"),
        ("five", "no such file"),
    ):
        done = ptylive_here("reconstruct", scan, "-o", tmp_path / "out.h5", "--set", f"dark_reference={value}")
        assert done.returncode == 1, value
        assert words in done.stderr
        assert "internal error" not in done.stderr
    done = ptylive_here("reconstruct", scan, "-o", tmp_path / "out.h5", "--set", "gain_reference=5")
    assert (done.returncode, "not a file" in done.stderr) == (1, True)
    done = ptylive_here("serve", "--headless", "--set", f"dark_reference={tmp_path / 'absent.npy'}")
    assert (done.returncode, "absent.npy" in done.stderr) == (1, True)
