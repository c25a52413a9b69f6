"""`serve` and `replay` with Merlin's protocol: a scan becomes maps and a recording, and commands drive the detector."""

from pathlib import Path

import pytest
from dectris_tools import free_port
from merlin_software import software
from running import frame_hashes, last_json, ptylive_here, server
from served_here import server_here

from ptylive.schema import MetadataError
from ptylive.server.process.config_file import load_config
from ptylive.simulators.data import bundled


@pytest.mark.slow
def test_a_detector_is_served_and_commanded(tmp_path: Path) -> None:
    file = bundled("mos2_svac_80kV_focus")
    with software() as merlin:
        host = merlin.address.removeprefix("tcp://")
        options = (
            "--protocol",
            "merlin",
            "--control-host",
            host,
            "--set",
            "scan.step_A=0.5",
            "--set",
            "energy_eV=80e3",
        )
        with server(tmp_path, *options) as running:
            reply = running.call("arm", frames=64, settings={"acquisitiontime": 0.1})
            assert reply["trigger_mode"] == "5"
            asked = [request for request in merlin.asked if not request.startswith("GET")]
            assert asked == [
                "SET,NUMFRAMESTOACQUIRE,64",
                "SET,ACQUISITIONTIME,0.1",
                "CMD,STARTACQUISITION",
                "CMD,SOFTTRIGGER",
            ]
            running.call("disarm")
            assert merlin.asked[-1] == "CMD,STOPACQUISITION"
            report = last_json(ptylive_here("replay", file, "--to", running.data, "--protocol", "merlin", "--json"))
            status = running.wait_for_results()
            assert (status["state"], status["lost"], status["rejected"]) == ("complete", 0, {})
            assert report["frames"] == status["frames"]
            assert status["scan"]["step_A"] == [0.5, 0.5]
            assert frame_hashes(Path(status["recording"])) == frame_hashes(file)


def test_as_many_frames_as_the_configured_scan_has_and_no_control_port(tmp_path: Path) -> None:
    with software() as merlin:
        address = merlin.address
        with server_here(tmp_path, {"protocol": "merlin", "detector_api": address}, {"scan.shape": "24,32"}) as running:
            assert running.call("arm", trigger=False)["frames"] == 768
            assert "SET,NUMFRAMESTOACQUIRE,768" in merlin.asked
            assert "CMD,SOFTTRIGGER" not in merlin.asked
            running.call("trigger")
            assert merlin.asked[-1] == "CMD,SOFTTRIGGER"


@pytest.mark.slow
def test_a_control_port_that_is_not_there_stops_nothing(tmp_path: Path) -> None:
    file = bundled("mos2_svac_80kV_focus")
    with server(tmp_path, "--protocol", "merlin", "--control-host", f"127.0.0.1:{free_port()}") as running:
        assert ptylive_here("replay", file, "--to", running.data, "--protocol", "merlin").returncode == 0
        assert running.wait_for_results()["state"] == "complete"


def test_a_detector_may_be_anywhere() -> None:
    options = {"protocol": "merlin", "data": "tcp://merlin.lab:6342", "detector_api": "tcp://merlin.lab:6341"}
    assert load_config(None, options, {}).data == "tcp://merlin.lab:6342"
    with pytest.raises(MetadataError, match="control port of a Merlin detector"):
        load_config(None, {**options, "protocol": "dectris-v2"}, {})


def test_an_impossible_mode_is_refused_with_one_line() -> None:
    done = ptylive_here("replay", bundled("mos2_svac_80kV_focus"), "--protocol", "merlin", "--mode", "raw7")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("give processed, raw1, raw6, raw12, raw24")
