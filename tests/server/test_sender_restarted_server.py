"""`ptylive.Sender` and a server that is killed and restarted during the scan: the scan is complete."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from running import Server, frame_hashes

import ptylive


@pytest.mark.slow
def test_what_a_killed_server_had_not_kept_is_sent_again(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).poisson(3.0, (256, 32, 32)).astype("<u2")
    memory = np.empty((16, 32, 32), "<u2")
    running = Server(tmp_path)
    try:
        with ptylive.Sender(running.data, control=running.control) as sender:
            sender.open((16, 16), (32, 32), np.uint16, energy_eV=300e3, scan_step_A=0.4)
            for row in range(16):
                memory[:] = frames[16 * row : 16 * (row + 1)]
                sender.send_row(row, memory)
                if row == 8:
                    sender.pause(0.5)
                    running.kill()
                    running.process.stderr.close()
                    running = Server(tmp_path, data=running.data, control=running.control)
        status = running.wait_for_results()
        assert (status["state"], status["lost"]) == ("complete", 0)
        sent = [hashlib.sha256(frame.tobytes()).hexdigest() for frame in frames]
        assert frame_hashes(Path(status["recording"])) == sent
    finally:
        running.stop()
