"""What can be copied from the page: the refinement that it would start, and how to send a first scan."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ptylive.schema.preset.describe import toml_section

SENDER = '''"""Sends a scan to ptylive, row by row. Put your scan, your camera and your microscope in.

Without ptylive on this computer: copy simulators/sender_example.py beside this file (it needs pyzmq and msgpack only).
"""

import numpy as np

from ptylive.simulators.sender_example import LiveScan

ROWS, COLUMNS = 64, 64
HEIGHT, WIDTH = 256, 256

with LiveScan(
    "{address}",
    scan={{"shape": [ROWS, COLUMNS], "step_A": 0.4}},
    detector={{"shape": [HEIGHT, WIDTH], "dtype": "<u2"}},
    optics={{"energy_eV": 300e3, "convergence_semiangle_mrad": 21.4}},
    series="first scan",
) as live:
    for row in range(ROWS):
        frames = np.zeros((COLUMNS, HEIGHT, WIDTH), "<u2")  # what your camera has recorded along this row
        live.send(frames, count=COLUMNS)
'''


def command_line(preset: Mapping[str, Any], recording: str | None, history: int = 0, beside: Sequence[str] = ()) -> str:
    """``ptylive refine …`` with the same settings on this recording and the ``beside`` ones, with a film's pictures."""
    path = PurePath(recording or "RECORDING.h5")
    paths = [str(path.with_name(name)) for name in beside]
    words = ["ptylive", "refine", str(path), *paths, "-o", str(path.with_name(f"{path.stem}_results.h5"))]
    for name, value in preset.items():
        written = json.dumps(value, ensure_ascii=False) if isinstance(value, bool | list | tuple) else value
        words += ["--set", f"{name}={written}"]
    return shlex.join([*words, "--history", str(history)] if history else words)


def python(preset: Mapping[str, Any], control: str, history: int = 0, beside: Sequence[str] = ()) -> str:
    """A script that requests the refinement from the running server."""
    options = f", history={history}" if history else ""
    options += f", beside={list(beside)!r}" if beside else ""
    return (
        "from ptylive.server.wire.client import ControlClient\n\n"
        f"with ControlClient({control!r}) as client:\n"
        f'    print(client.call("refine", preset={dict(preset)!r}{options}))\n'
    )


def preset_file(preset: Mapping[str, Any]) -> str:
    """TOML for ``ptylive refine --preset``."""
    return toml_section("refine", preset)


def clips(
    preset: Mapping[str, Any],
    recording: str | None,
    control: str,
    data: str,
    protocol: str,
    history: int = 0,
    beside: Sequence[str] = (),
) -> dict[str, str]:
    """Everything that can be copied, by name; ``control`` and ``data`` are the server's addresses.

    ``beside``: names of recordings that are refined together with this one.
    """
    return {
        "command": command_line(preset, recording, history, beside),
        "python": python(preset, control, history, beside),
        "preset": preset_file(preset),
        "sender": SENDER.format(address=reachable(data)),
        "replay": replay_line(data, protocol),
    }


def reachable(address: str) -> str:
    """An address as another computer connects to it; a wildcard address is replaced by this computer's name."""
    for wildcard in ("*", "0.0.0.0", "[::]"):  # noqa: S104  (compared with, not bound to)
        address = address.replace(f"//{wildcard}:", f"//{socket.gethostname()}:")
    return address


def replay_line(data: str, protocol: str) -> str:
    """``ptylive replay …`` that sends a file to this server as its detector would."""
    words = ["ptylive", "replay", "SCAN.h5", "--to", reachable(data)]
    return shlex.join(words if protocol == "native" else [*words, "--protocol", protocol])
