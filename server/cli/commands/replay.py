"""``ptylive replay``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from threadpoolctl import threadpool_limits

from ptylive.schema import MetadataError
from ptylive.server.cli.options import AsJson, Keys, Settings
from ptylive.server.cli.output import answer, bar, say, when_interrupted
from ptylive.server.cli.values import parse_assignments
from ptylive.streamer.protocols.inlet import ProtocolName
from ptylive.streamer.wire.limits import DEFAULT_DATA

if TYPE_CHECKING:
    from ptylive.engine.compression import CompressedSource
    from ptylive.streamer.source import FileSource

EXAMPLES = """
ptylive replay scan.h5 --rate 1000
ptylive replay scan.h5 --control tcp://127.0.0.1:9998      # resend what is not yet safe
ptylive replay scan.h5 --protocol dectris-v2 --to tcp://127.0.0.1:31001
ptylive replay scan.h5 --protocol merlin --mode raw12 --to tcp://127.0.0.1:6342
ptylive replay scan.h5 --protocol tpx3 --to tcp://127.0.0.1:8283
"""


def replay(
    file: Annotated[Path, typer.Argument(help="scan file, native or foreign", readable=False)],
    to: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="data address of the server; with a detector protocol, the address to bind"
        ),
    ] = DEFAULT_DATA,
    control: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="keep frames that are not yet safe, and resend them after a reconnect"),
    ] = None,
    protocol: Annotated[str, typer.Option(help="native, dectris-v1, dectris-v2, merlin, tpx3 or tpx3-raw")] = "native",
    mode: Annotated[
        str, typer.Option(help="pixel format of merlin: processed, raw1, raw6, raw12 or raw24")
    ] = "processed",
    rate: Annotated[str, typer.Option(help="frames per second, max or recorded")] = "max",
    basis: Annotated[str, typer.Option(help="compress before sending, for example zernike:45+1")] = "pixels",
    batch: Annotated[int | None, typer.Option(min=1, help="frames per message")] = None,
    loops: Annotated[int, typer.Option(min=1, help="number of times to send it; each is a new scan")] = 1,
    keys: Keys = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Send a recorded scan to a server, as a microscope would."""
    from ptylive.application.conversion import compressed
    from ptylive.engine.bases.choice import parse_basis
    from ptylive.simulators.merlin import parse_mode
    from ptylive.simulators.replay import ReplaySettings
    from ptylive.simulators.replay import replay as send
    from ptylive.streamer.vetting.whole_file import vet

    chosen = ReplaySettings(
        to=to,
        protocol=parse_protocol(protocol),
        rate=parse_rate(rate),
        batch=batch,
        loops=loops,
        control=control,
        keys=keys,
        values=parse_assignments(settings or ()),
        mode=parse_mode(mode),
    )
    choice = parse_basis(basis)
    vet(file, chosen.values)
    compression_report: dict[str, Any] = {}

    def compress(opened: FileSource) -> CompressedSource:
        compressed_source, kept = compressed(opened, choice)
        compression_report.update(asdict(kept))
        return compressed_source

    # leave the sender's core to sending; one thread keeps up (a product of 64 x 64 pixels and 50 masks takes 10 us)
    kept = "the server keeps what it has received"
    if control is not None:
        kept += "; the same command sends a new scan"
    with (
        when_interrupted(kept),
        threadpool_limits(limits=1),
        bar(f"replaying {file.name}", quiet=as_json) as shown,
    ):
        report = send(file, chosen, shown.update, None if choice.is_raw else compress)
    for line in report.doubts:
        say(line)
    outcome: dict[str, Any] = {"file": str(file), **asdict(report), **compression_report}
    del outcome["doubts"]
    answer(outcome, as_json=as_json)


def parse_protocol(text: str) -> ProtocolName:
    """Parse the name of a protocol. Raises MetadataError."""
    for name in get_args(ProtocolName):
        if text == name:
            return name  # type: ignore[no-any-return]
    raise MetadataError(f"--protocol {text!r} is unknown", f"use {', '.join(get_args(ProtocolName))}")


def parse_rate(text: str) -> Literal["max", "recorded"] | float:
    """Parse a rate in frames/s, or one of the words. Raises MetadataError."""
    if text == "max":
        return "max"
    if text == "recorded":
        return "recorded"
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise MetadataError(f"--rate {text!r} is not a rate", "give frames per second, max or recorded")
    return value
