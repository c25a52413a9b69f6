"""``ptylive refine``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptylive.application.extensions import Preset, read_map_settings
from ptylive.schema.errors import MetadataError, PtyliveError, RefinementError, about
from ptylive.schema.metadata import NAMES, arrays_and_numbers, locate, not_overridden, overruled_values
from ptylive.server.cli.interrupt import ctrl_c_asks_to_stop
from ptylive.server.cli.options import AsJson, Backend, Cluster, Settings, WhenMissing, checked_backend
from ptylive.server.cli.output import Interrupted, answer, bar, end_partial, say, when_interrupted
from ptylive.server.cli.preset_option import with_masks
from ptylive.server.cli.refine_series import look_through, with_others
from ptylive.server.cli.refine_together import Workers, shared_by
from ptylive.server.cli.refine_words import ShownRun, describe_checks, whole_outcome_of, with_halves
from ptylive.server.cli.values import parse_assignments
from ptylive.server.cluster.where import REFUSE, WorkersAsked, check_way

if TYPE_CHECKING:
    from ptylive.application.offline import Reconstruction
    from ptylive.application.presets import PresetFile
    from ptylive.engine.dataset import Dataset
    from ptylive.engine.refine import TrialContext
    from ptylive.engine.refine.data.start_guess import StartGuess
    from ptylive.engine.refine.results.refinement_result import RefineResult
    from ptylive.engine.refine.run.history import History
    from ptylive.engine.refine.validation.checks import Checks
    from ptylive.engine.results import StorageLocation
    from ptylive.schema import ScanHeader
    from ptylive.server.refinement.refine_job import RefineJob

EXAMPLES = """
ptylive refine scan.h5 -o refined.h5
ptylive refine scan.h5 -o refined.h5 --set num_slices=4 --set total_thickness_A=80
ptylive refine scan.h5 -o refined.h5 --stage thin.toml --stage thick.toml    # one after the other, in one run
ptylive refine flat.h5 left.h5 right.h5 -o refined.h5 --set num_slices=20 --set total_thickness_A=200 \
--set 'scan_tilts_mrad=[[0,0],[20,0],[-20,0]]'
ptylive refine scan.h5 -o refined.h5 --resume             # go on after Ctrl-C
ptylive refine scan.h5 -o refined.h5 --cluster tcp://scheduler:8786
ptylive refine scan.h5 -o refined.h5 --cluster local:4 --workers 4      # one refinement on four workers
"""


def refine(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="scan file, native or foreign; several: scans of the same place at different tilts", readable=False
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="results file", readable=False)],
    preset: Annotated[
        Path | None,
        typer.Option(
            help="settings of the refinement: TOML or JSON, or a preset of PyPty, PtyRAD or phaser", readable=False
        ),
    ] = None,
    stage: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="settings of a stage, repeatable; stages are refined one after the other",
            readable=False,
        ),
    ] = None,
    settings: Settings = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="total number of epochs")] = None,
    backend: Backend = "auto",
    threads: Annotated[int, typer.Option(min=1, max=256, help="threads on the CPU")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="continue from the checkpoint next to the output file")
    ] = False,
    history: Annotated[
        int | None,
        typer.Option(metavar="EPOCHS", min=1, help="store object, probe and positions every EPOCHS epochs, for a film"),
    ] = None,
    checks: Annotated[
        bool, typer.Option("--checks", help="check the data before the run; compare halves and shuffled data after it")
    ] = False,
    cluster: Cluster = None,
    when_cluster_missing: WhenMissing = REFUSE,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Refine the object and probe of a recording by multislice ptychography."""
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.application.offline import refinable, stored_at_last
    from ptylive.application.outputs import beside, reserved_run
    from ptylive.application.presets import with_stage_files
    from ptylive.engine.refine import TrialContext
    from ptylive.engine.refine import refine as run
    from ptylive.engine.results import Run, add_refinement, describe_run
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.whole_file import vet

    file = files[0]
    chosen, values = split_settings(parse_assignments(settings or ()))
    vet(file, values := with_masks(preset, values, output), output)
    scan, checkpoint = _checked(file, values, output, resume=resume, shared=workers is not None)
    loaded, values = _loaded(preset, file, values, output)
    wanted = _preset(with_stage_files({**loaded.settings, **chosen}, stage or (), output), epochs)
    checked_backend(backend)
    check_way(when_cluster_missing, cluster, shared=workers is not None)
    look_through(files, values, loaded, shared=cluster is not None or workers is not None)
    if _is_elsewhere(loaded, cluster, workers, checks=checks, history=history):
        given = replace(_job(file, wanted, values), backend=backend, threads=threads, resume=resume)
        given = replace(given, results=output.absolute(), checkpoint=checkpoint.absolute())
        _refine_elsewhere(given, WorkersAsked(cluster=cluster, when_missing=when_cluster_missing), as_json=as_json)
        return
    started = time.perf_counter()
    header = _header_of(file, values, wanted)
    with (
        shared_by(workers, cluster, wanted, backend, threads, say) as sharing,
        reserved_run(output, checkpoint) as name,
        open_source(file, values) as source,
        ExitStack() as opened,
    ):
        mapping = partial(_mapped, values=values, wanted=wanted, backend="cpu" if backend == "cpu" else "auto")
        mapped = mapping(file, compiles=header if backend != "gpu" else None, as_json=as_json)
        guess, context = _start_guess(mapped, wanted), TrialContext(backend, threads)
        dataset = loaded.placed(refinable(source, mapped.calibration))
        other_sources = (opened.enter_context(open_source(each, values)) for each in files[1:])
        first, map_others = (file.name, dataset, guess), partial(mapping, compiles=None, as_json=as_json)
        dataset = with_others(first, other_sources, wanted, map_others)
        frames, kept_history = len(dataset.patterns), _history_of(output, history, resume=resume)
        before = _checked_before(dataset, wanted, replace(context, start=guess), as_json) if checks else None
        with bar("refining", quiet=as_json) as shown, _stoppable() as stop:
            result = run(
                dataset,
                wanted,
                start=guess,
                backend=backend,
                threads=threads,
                on_progress=ShownRun(shown, say),
                should_stop=stop.is_set,
                checkpoint=checkpoint,
                resume=resume,
                loss_table=beside(output, ".loss.csv"),
                history=kept_history,
                judge=checks,
                sharing=sharing,
            )
        result, missing = with_halves(result, dataset, wanted, context, as_json) if checks else (result, "")
        finished, calibration = Run(name, wanted, result), result.calibration or mapped.calibration
        description = {**describe_run(" ".join(sys.argv), result.backend), **scan}
        stored = stored_at_last(lambda: add_refinement(output, finished, calibration, description), Event(), say)
    outcome = whole_outcome_of(result, frames, before, kept_history)
    summary = {"seconds": time.perf_counter() - started, **outcome}
    _conclude(file, stored, result, summary, missing, as_json=as_json)


def _conclude(
    file: Path, stored: StorageLocation, result: RefineResult, outcome: dict[str, Any], missing: str, *, as_json: bool
) -> None:
    """Report the outcome. Raises Interrupted, PtyliveError if the run did not finish; exits if something is missing."""
    _summarise(result, as_json)
    answer({"file": str(file), "output": str(stored.path), "run": stored.run, **outcome}, as_json=as_json)
    _judge(result.state, len(result.loss), result.message, stored)
    if missing:
        end_partial(missing)


def _is_elsewhere(
    loaded: PresetFile, cluster: str | None, workers: int | None, *, checks: bool, history: int | None
) -> bool:
    """Return whether everything is done on a worker. Raises MetadataError for options that need this machine."""
    if cluster is None:
        return False
    if history is not None:
        raise MetadataError("--history works on this machine only", "leave out --history, or --cluster")
    if workers is not None:
        return False
    if checks:
        raise MetadataError("--checks works on this machine only", "leave out --checks, or --cluster")
    if loaded.positions_A is not None:
        raise MetadataError("positions of a preset can be used on this machine only", "leave out --cluster")
    return True


def _job(file: Path, wanted: Preset, values: Mapping[str, Any]) -> RefineJob:
    from ptylive.application.offline import method_of
    from ptylive.schema import Calibration
    from ptylive.server.refinement.refine_job import RefineJob

    return RefineJob(
        recording=file.absolute(),
        results=Path(),
        run="",
        preset=wanted,
        calibration=Calibration(),
        values=values,
        command_line=" ".join(sys.argv),
        methods=(method_of(wanted.start.start_map),),
    )


def _refine_elsewhere(job: RefineJob, where: WorkersAsked, *, as_json: bool) -> None:
    """Refine on a worker of a cluster; the results file also gets the map that the refinement started from."""
    from ptylive.application.outputs import reserved_run
    from ptylive.engine.results import StorageLocation
    from ptylive.server.cli.refine_elsewhere import refine_elsewhere

    started = time.perf_counter()
    assert job.checkpoint is not None  # noqa: S101  (we have just named it)
    with (
        reserved_run(job.results, job.checkpoint) as name,
        bar("refining", quiet=as_json) as shown,
        _stoppable() as stop,
    ):
        remote = refine_elsewhere(replace(job, run=name), where, shown, stop, say)
    ended, outcome = remote.ended, remote.outcome()
    for sentence in () if as_json else remote.sentences():
        say(sentence)
    seconds = time.perf_counter() - started
    summary = {"file": str(job.recording), "output": str(ended["results"]), "run": ended["run"], "seconds": seconds}
    answer({**summary, **outcome}, as_json=as_json)
    stored = StorageLocation(Path(ended["results"]), ended["run"], ended["problem"])
    _judge(ended["state"], remote.run.epoch, ended["message"], stored)


def _mapped(
    file: Path, values: Mapping[str, Any], wanted: Preset, backend: str, compiles: ScanHeader | None, as_json: bool
) -> Reconstruction:
    """Make the map that the refinement starts from while compiling what a scan such as ``compiles`` needs."""
    from ptylive.application.offline import MapRequest, method_of, reconstruct_file
    from ptylive.server.refinement.warm_refinement import compiling

    with (
        when_interrupted("nothing was written; start again with the same command"),
        bar(f"computing the starting object from {file.name}", quiet=as_json) as shown,
        nullcontext() if compiles is None else compiling(compiles, shown.update),
    ):
        methods = (method_of(wanted.start.start_map),)
        request = MapRequest(backend=backend, settings=wanted.start.map_settings)
        return reconstruct_file(file, values, methods, request, shown.update)


def _history_of(output: Path, epochs: int | None, *, resume: bool) -> History | None:
    """Return the history of a run, if it keeps one; that of an earlier run is moved aside. Raises InputFileError."""
    from ptylive.application.film import history_folder
    from ptylive.engine.refine.run.history import History

    return None if epochs is None else History(history_folder(output, resume=resume), epochs)


def _checked(
    file: Path, values: dict[str, Any], output: Path, *, resume: bool, shared: bool
) -> tuple[dict[str, Any], Path]:
    """Check that the output can be written; return the scan's identity and checkpoint path. Raises InputFileError."""
    from ptylive.application.outputs import (
        beside,
        check_checkpoint,
        check_own_table,
        check_results_file,
        check_resumable,
        scan_settings,
    )
    from ptylive.engine.refine.run.loss_table import COLUMNS
    from ptylive.streamer.source import open_source

    checkpoint = beside(output, ".checkpoint")
    with open_source(file, values) as source:
        check_results_file(output, source)
        scan = scan_settings(source, output)
    check_own_table(beside(output, ".loss.csv"), COLUMNS, [file])
    if resume:
        check_resumable(checkpoint, shared=shared)
    else:
        check_checkpoint(checkpoint, [file])
    return scan, checkpoint


def _summarise(result: RefineResult, as_json: bool) -> None:
    from ptylive.engine.refine.results.outcome import sentences_of

    if as_json:
        return
    for sentence in sentences_of(result):
        say(sentence)
    if result.validation is not None:
        say(result.validation.summary())


@contextmanager
def _stoppable() -> Iterator[Event]:
    """Make Ctrl-C stop the run after its batch; a run that has not begun yet has nothing to keep."""
    with ctrl_c_asks_to_stop("stopping after this batch; Ctrl-C again stops at once") as stop:
        try:
            yield stop
        except RefinementError:
            if stop.is_set():
                raise Interrupted("nothing was written; start again with the same command") from None
            raise
        except KeyboardInterrupt:
            raise Interrupted("the last checkpoint is kept; continue with --resume") from None


def _judge(state: str, epochs: int, message: str, stored: StorageLocation) -> None:
    """Raise Interrupted or PtyliveError if the run did not finish or was not written to its file."""
    written = f"{stored.path} as {stored.run}"
    if stored.problem:
        raise PtyliveError(stored.problem)
    if state == "stopped":
        raise Interrupted(f"{epochs} epochs are in {written}; continue with the same command and --resume")
    if state == "failed":
        raise PtyliveError(f"the refinement failed: {message}", f"what was reached is in {written}")


def _header_of(file: Path, values: dict[str, Any], wanted: Preset) -> ScanHeader:
    """Return what is known of the scan. Raises MetadataError if optics are missing."""
    from ptylive.engine.dataset import check_metadata
    from ptylive.streamer.source import open_source

    with open_source(file, values) as source, about(file):
        check_metadata(source.header, far_field=not wanted.propagation.near_field)
        return source.header


def _checked_before(dataset: Dataset, wanted: Preset, context: TrialContext, as_json: bool) -> Checks:
    """Check the run beforehand and print the findings."""
    from ptylive.engine.refine import check

    before = check(dataset, wanted, context)
    if not as_json:
        say("\nptylive: ".join(describe_checks(before)))
    return before


def _start_guess(mapped: Reconstruction, wanted: Preset) -> StartGuess | None:
    """Return the map to start from; print what looks wrong in the file, and why the map is missing."""
    from ptylive.application.offline import method_of, start_of

    for remark in mapped.remarks:
        say(remark)
    maps = {live_map.name: live_map for live_map in mapped.rendering.maps}
    if (name := wanted.start.start_map) not in maps:
        reason = mapped.rendering.missing.get(method_of(name), "see the metadata")
        say(f"{name} was not made, so the refinement starts from an empty object: {reason}")
    return start_of(maps.get, wanted.start, mapped.calibration)


def split_settings(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate settings of the preset from metadata of the recording, by their names."""
    plain = {name.removeprefix("refine."): value for name, value in values.items()}
    of_maps, plain = read_map_settings(plain) if any("." in name for name in plain) else ({}, plain)
    known = Preset.kind_for(plain).settings()
    preset = {**{name: value for name, value in plain.items() if name in known}, **of_maps}
    metadata = {name: value for name, value in plain.items() if name not in known}
    for name, value in arrays_and_numbers(metadata)[1].items():
        try:
            locate(name)
        except MetadataError:
            if "." in name or name in NAMES:
                raise
            Preset.from_mapping({name: value})  # its error says which setting was meant
            raise
    return preset, metadata


def _loaded(path: Path | None, file: Path, values: dict[str, Any], output: Path) -> tuple[PresetFile, dict[str, Any]]:
    """Return the preset file, and the given metadata with what the preset adds to those of the recording."""
    from ptylive.application.presets import PresetFile, load_preset
    from ptylive.streamer.source import open_source

    if path is None:
        return PresetFile(), values
    with open_source(file, values) as source:
        loaded = load_preset(path, pattern_shape=source.header.detector_shape, beside=output)
        described = loaded.described(source.header, values)
        differing = overruled_values(source.header, not_overridden(loaded.metadata, values))
    for note in loaded.notes:
        say(note)
    if differing:
        say(f"the recording says otherwise than {path}, and counts: {'; '.join(differing)}; --set overrides both")
    return loaded, described


def _preset(settings: Mapping[str, Any], epochs: int | None) -> Preset:
    """Make the preset from the settings of all sources, and vet the files they name."""
    from ptylive.application.presets import files_of
    from ptylive.streamer.vetting.whole_file import vet_results

    preset = Preset.from_mapping({**settings, **({} if epochs is None else {"epoch_max": epochs})})
    vet_results(*files_of(preset))
    return preset
