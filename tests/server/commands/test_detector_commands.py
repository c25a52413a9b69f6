"""Invalid settings do not reach a detector (for the rest see test_dectris_serve, test_merlin_serve)."""

from unittest.mock import Mock

import pytest
from merlin_software import software

from ptylive.schema import CommandError
from ptylive.server.commands.detector_commands import DetectorCommands
from ptylive.server.process.config_file import load_config


@pytest.mark.parametrize("frames", [0, -3])
def test_a_number_of_frames_that_cannot_be_does_not_get_to_the_detector(frames: int) -> None:
    with software() as merlin:
        config = load_config(None, {"protocol": "merlin", "detector_api": merlin.address}, {})
        commands = DetectorCommands(config, Mock())
        with pytest.raises(CommandError, match=f"at least 1, not {frames}"):
            commands.command_arm(frames=frames)
        assert merlin.asked == []
        assert commands.command_arm(frames=1)["frames"] == 1
