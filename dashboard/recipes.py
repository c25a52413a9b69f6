"""The refinement that the page would start, as a command line, as Python, and as a preset file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ptylive.schema.preset.describe import toml_section


def command_line(preset: Mapping[str, Any], recording: str | None) -> str:
    """``ptylive refine …`` with the same settings on the recording."""
    path = PurePath(recording or "RECORDING.h5")
    words = ["ptylive", "refine", str(path), "-o", str(path.with_name(f"{path.stem}_results.h5"))]
    for name, value in preset.items():
        words += ["--set", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
    return shlex.join(words)


def python(preset: Mapping[str, Any], control: str) -> str:
    """A script that asks the running server for it."""
    return (
        "from ptylive.server.wire.client import ControlClient\n\n"
        f"with ControlClient({control!r}) as client:\n"
        f'    print(client.call("refine", preset={dict(preset)!r}))\n'
    )


def preset_file(preset: Mapping[str, Any]) -> str:
    """TOML for ``ptylive refine --preset``."""
    return toml_section("refine", preset)
