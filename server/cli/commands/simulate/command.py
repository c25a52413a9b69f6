"""The command ``simulate``: settings from a file and the command line, a progress bar, and what was written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ptylive.schema import MetadataError
from ptylive.server.cli.options import AsJson, Settings
from ptylive.server.cli.output import answer, bar, say, when_interrupted
from ptylive.server.cli.values import parse_assignments

EXAMPLES = """
ptylive simulate demo.h5
ptylive simulate thick.h5 --set specimen=crystal --set energy_eV='200 keV' --set thickness_A='20 nm' --seed 7
ptylive simulate scan.h5 --config sim.toml --set dose_e_per_A2=2e4 --overwrite
"""


def simulate(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="recording to write", readable=False)],
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings (docs/simulate.md)", readable=False)
    ] = None,
    settings: Settings = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="seed of all random numbers; default: the seed in the settings")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="overwrite an existing file")] = False,
    as_json: AsJson = False,
) -> None:
    """Simulate a scan: object, probe, scan and detector, with the forward model of refinements."""
    from ptylive.application.outputs import check_hdf5_file
    from ptylive.application.simulation import merged, read_settings, simulate_file
    from ptylive.schema.simulation.settings import SimulationSettings

    check_hdf5_file(output, [] if config is None else [config])
    typed = merged(parse_assignments(settings or ()))
    if seed is not None and "seed" in typed:
        raise MetadataError("seed is given twice", "give --seed or --set seed=…")
    seed_setting: dict[str, Any] = {} if seed is None else {"seed": seed}
    wanted = SimulationSettings.of(merged({} if config is None else read_settings(config), typed, seed_setting))
    started = time.perf_counter()
    when_stopped = f"{output} was not written"
    with when_interrupted(when_stopped), bar(f"simulating {output.name}", quiet=as_json) as shown:
        simulated = simulate_file(output, wanted, shown.update, overwrite=overwrite)
    seconds = time.perf_counter() - started
    if simulated.missing:
        say(f"{simulated.missing} frames are missing, as requested")
    if simulated.full_pixels and wanted.detector.saturation_value is None:
        say(f"pixels were saturated {simulated.full_pixels} times: lower the dose, or use a larger dtype")
    answer(
        {
            "output": str(output),
            "frames": simulated.frames,
            "seconds": seconds,
            "frames_per_s": simulated.frames / seconds,
            "electrons_per_pattern": simulated.electrons_per_pattern,
            "detected_fraction": simulated.detected_fraction,
            "model_pixels": simulated.model_pixels,
            "slices": simulated.slices,
            "full_pixels": simulated.full_pixels,
            "seed": wanted.model.seed,
        },
        as_json=as_json,
    )
