"""``ptylive preset``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ptylive.schema.files.atomic import replacing
from ptylive.server.cli.output import say

EXAMPLES = """
ptylive preset > preset.toml                  # every setting with its meaning and default
ptylive preset pypty.json -o preset.toml      # a PyPty preset as TOML
ptylive preset params.yaml -o preset.toml     # a parameter file of PtyRAD or a plan of phaser as TOML
"""


def preset(
    file: Annotated[
        Path | None, typer.Argument(help="preset: TOML or JSON, or one of PyPty, PtyRAD or phaser", readable=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="TOML file to write; default: stdout", readable=False)
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON schema of presets")] = False,
    recording: Annotated[
        Path | None,
        typer.Option(
            "--for", metavar="FILE", help="recording that the preset is for: PyPty counts in its pixels", readable=False
        ),
    ] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="leave out what cannot be converted")] = False,
) -> None:
    """Check a preset and write it as TOML; without FILE, list every setting with its meaning and default."""
    from ptylive.application.extensions import Preset
    from ptylive.application.outputs import check_text_file
    from ptylive.application.presets import is_own_schema, is_own_toml, load_preset
    from ptylive.schema.preset.describe import json_schema, to_toml

    if output is not None:
        inputs = [path for path in (file, recording) if path is not None]
        check_text_file(output, inputs, is_own_schema if schema else is_own_toml)
    if schema:
        text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    elif file is None:
        text = to_toml(Preset(), explained=True)
    else:
        shape = _pattern_shape(recording) if recording is not None else None
        loaded = load_preset(file, pattern_shape=shape, beside=output, lenient=lenient)
        for note in loaded.table or loaded.notes:
            say(note)
        if loaded.positions_A is not None:
            say("positions are not written to TOML; refine --preset reads them from the original file")
        text = loaded.as_toml()
    if output is None:
        sys.stdout.write(text)
    else:
        with replacing(output) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _pattern_shape(recording: Path) -> tuple[int, int]:
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.whole_file import vet

    vet(recording)
    with open_source(recording, {}) as source:
        return source.header.detector_shape
