"""Preset files: this program's as TOML and JSON, PyPty's as JSON or Python text, YAML of PtyRAD and phaser."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.application.extensions import Preset
from ptylive.schema.errors import InputFileError, MetadataError, did_you_mean
from ptylive.schema.files.npy import read_npy, write_npy
from ptylive.schema.files.small_files import read_bytes
from ptylive.schema.foreign_plans.basis_paper import published
from ptylive.schema.foreign_plans.phaser import import_phaser, looks_like_phaser
from ptylive.schema.foreign_plans.ptyrad import import_ptyrad, looks_like_ptyrad
from ptylive.schema.foreign_plans.yaml_text import read_yaml
from ptylive.schema.metadata import MASKS, NAMES, SECTIONS, typed, unstated_by
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset.describe import to_toml, toml_section
from ptylive.schema.preset.stages import NAME, checked_tables, settings_in
from ptylive.schema.preset.start import gathered
from ptylive.schema.pypty import import_preset
from ptylive.schema.pypty.convert import is_all_pypty, looks_like_pypty, means_otherwise
from ptylive.schema.pypty.text import LARGEST, parse_text
from ptylive.schema.settings_text import as_table, read_toml

if TYPE_CHECKING:
    from ptylive.engine.dataset import Dataset
    from ptylive.schema.scan_header import ScanHeader

HDF5 = (".h5", ".hdf5", ".nxs", ".mat")
YAML = (".yaml", ".yml")
PICKLED = b"\x80"
CORRECTIONS = "corrections"
"""Section of metadata that take precedence over the recording's, under their names in files (``defocus_A``)."""


@dataclass(frozen=True)
class PresetFile:
    """Contents of a preset file."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the refinement."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Metadata of the experiment; those of recording and command line take precedence."""
    positions_A: DoubleArray | None = None
    """(scan points, 2), detector frame."""
    notes: tuple[str, ...] = ()
    """Settings that were adopted with a difference, or not adopted."""
    table: tuple[str, ...] = ()
    """How each parameter was imported, for a plan of PtyRAD or phaser."""
    corrections: Mapping[str, Any] = field(default_factory=dict)
    """Metadata that correct those of the recording; those of the command line take precedence."""

    masks: str | None = None
    """File of virtual detectors whose readings the recording contains."""

    def placed(self, dataset: Dataset) -> Dataset:
        """The data set at the preset's positions, if it has any. Raises MetadataError if their number differs."""
        if self.positions_A is None:
            return dataset
        points = int(np.prod(dataset.scan_shape))
        if len(self.positions_A) != points:
            raise MetadataError(f"the preset has {len(self.positions_A)} positions", f"the scan has {points} points")
        return replace(dataset, positions_A=(self.positions_A - self.positions_A[0])[dataset.point])

    def described(self, header: ScanHeader, values: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata ``values`` given for a scan, and what the preset adds to them and its ``header``."""
        return {**unstated_by(header, self.metadata), **self.corrections, **values}

    def as_toml(self) -> str:
        """Format as TOML: section [refine], and those of a configuration file."""
        parts = [to_toml(Preset.from_mapping(self.settings))]
        for section in SECTIONS:
            values = {NAMES[n][1]: value for n, value in self.metadata.items() if NAMES[n][0] == section}
            parts.append(toml_section(section, values))
        parts.append(toml_section(CORRECTIONS, self.corrections))
        return "\n".join(part for part in parts if part)


def load_preset(
    path: Path, *, pattern_shape: tuple[int, int] | None = None, beside: Path | None = None, lenient: bool = False
) -> PresetFile:
    """Read a preset file of this program, PyPty, PtyRAD or phaser, or a published preset by its name.

    ``pattern_shape``: of the recording it is for; ``beside``: arrays of the preset become npy files named after this
    path; ``lenient``: ignore PyPty settings that this program does not support. Raises MetadataError, also for metadata
    that are possible but unusual and have no unit written out.
    """
    loaded = _read(path, pattern_shape, beside, lenient=lenient)
    try:
        return replace(loaded, metadata=typed(loaded.metadata), corrections=typed(loaded.corrections))
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}", error.hint) from None


def _read(path: Path, pattern_shape: tuple[int, int] | None, beside: Path | None, *, lenient: bool) -> PresetFile:
    """Read a preset file; metadata as they are written. Raises MetadataError."""
    if (settings := published(str(path))) is not None:
        return PresetFile(settings)
    text = _text(path)
    if path.suffix == ".toml":
        return _ours(read_toml(text, str(path)), path)
    if path.suffix.lower() in YAML:
        return _of_plan(read_yaml(text, str(path)), path, lenient=lenient)
    parsed = parse_text(text, str(path))
    if looks_like_ptyrad(parsed.values) or looks_like_phaser(parsed.values):
        return _of_plan(parsed.values, path, lenient=lenient)
    if not looks_like_pypty(parsed.values) and not (parsed.is_script and is_all_pypty(parsed.values)):
        otherwise = means_otherwise(parsed.values)
        message = f"{path}: read as settings of ptylive; PyPty uses {', '.join(otherwise)} with another meaning"
        hint = "a preset of PyPty needs a name only PyPty uses, for example acc_voltage"
        return replace(_ours(parsed.values, path), notes=(f"{message}: {hint}",) if otherwise else ())
    imported = import_preset(parsed.values, pattern_shape=pattern_shape, lenient=lenient)
    files = {name: str((beside or path).with_suffix(f".{name}.npy")) for name in imported.arrays}
    described = dict(imported.metadata)
    masks = described.pop(MASKS, None)
    for name, file in files.items():
        write_npy(Path(file), imported.arrays[name])
    unread = (f"{path}: not read: {_lines(parsed.unread)}",) if parsed.unread else ()
    masks = files.pop(MASKS, masks)
    opened = (f"the recording holds readings of virtual detectors: --set masks={masks}",) if masks is not None else ()
    return PresetFile(
        with_modes_of({**imported.settings, **files}),
        described,
        imported.positions_A,
        (*unread, *imported.notes, *opened, *(f"not imported: {item}" for item in imported.left_behind)),
        masks=masks,
    )


def is_own_toml(text: str) -> bool:
    """Whether a text is a preset as :meth:`PresetFile.as_toml` writes it, maybe changed since: below comments it begins
    with its section, and it has no others than a preset. Raises ValueError for what is not TOML.
    """
    values = tomllib.loads(text)
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return first == "[refine]" and set(values) <= {"refine", "stage", *SECTIONS, CORRECTIONS}


def is_own_schema(text: str) -> bool:
    """Whether a text is the JSON schema of presets. Raises ValueError for what is not JSON."""
    from ptylive.schema.preset.describe import json_schema

    stored = json.loads(text)
    return isinstance(stored, dict) and stored.get("title") == json_schema()["title"] and "properties" in stored


def with_modes_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the number of object modes of PyPty's start array (Y, X, slices, modes), if they name one.

    Anything else is left to the code that opens the start object.
    """
    start = settings.get("start_object")
    if "obj_modes" in settings or not isinstance(start, str) or not start.endswith(".npy"):
        return dict(settings)
    try:
        shape = read_npy("start_object", start, "", mapped=True).shape
    except MetadataError:
        return dict(settings)
    return {**settings, "obj_modes": shape[3]} if len(shape) == 4 and shape[3] > 1 else dict(settings)


def preset_of(given: Preset | Mapping[str, Any] | str | Path | None, folder: Path | None = None) -> PresetFile:
    """The preset given for refinements: settings, a preset, or the path of a preset file.

    Arrays of PyPty's presets become npy files in ``folder``, by default beside the file. Raises MetadataError, also for
    positions.
    """
    if given is None:
        return PresetFile()
    if isinstance(given, Preset):
        return PresetFile(given.model_dump(exclude_unset=True))
    if isinstance(given, Mapping):
        return PresetFile(given)
    path = Path(given)
    loaded = load_preset(path, beside=None if folder is None else folder / path.name)
    if loaded.positions_A is not None:
        raise MetadataError(f"{path} has positions, which belong to one scan", "refine that scan with ptylive refine")
    if loaded.masks is not None:
        raise MetadataError(
            f"{path} has masks, which belong to one recording", "refine that recording with ptylive refine"
        )
    return loaded


def _of_plan(values: Mapping[str, Any], path: Path, *, lenient: bool) -> PresetFile:
    """A parameter file of PtyRAD or a plan of phaser. Raises MetadataError for any other table."""
    if not looks_like_ptyrad(values) and not looks_like_phaser(values):
        raise MetadataError(f"{path} is neither a parameter file of PtyRAD nor a plan of phaser", "presets are TOML")
    reading = import_ptyrad if looks_like_ptyrad(values) else import_phaser
    try:
        imported = reading(values, lenient=lenient)
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}", error.hint) from None
    return PresetFile(
        imported.settings, imported.metadata, notes=imported.notes, table=tuple(str(row) for row in imported.table)
    )


def files_of(preset: Preset) -> list[Path]:
    """HDF5 files named by settings of any stage: object, probe and positions to start from, phase plates."""
    values = [value for stage in preset.in_stages() for value in stage.preset.model_dump().values()]
    return [
        Path(value) for value in dict.fromkeys(v for v in values if isinstance(v, str)) if Path(value).suffix in HDF5
    ]


def with_stage_files(settings: Mapping[str, Any], files: Sequence[Path], beside: Path) -> dict[str, Any]:
    """Settings with one additional stage per preset file, named like the file unless it has a name.

    ``beside``: arrays of PyPty's presets become npy files named after this path and the stage. Raises MetadataError for
    a file that describes the experiment, which is the same in all stages.
    """
    if not files:
        return dict(settings)
    stages = list(checked_tables(settings.get("stages") or ()))
    for path in files:
        loaded = load_preset(path, beside=beside.with_name(f"{beside.stem}-stage{len(stages) + 1}{beside.suffix}"))
        if loaded.metadata or loaded.corrections or loaded.positions_A is not None:
            raise MetadataError(f"{path} describes the experiment", "write it into the file given to --preset")
        stages.append({"name": path.stem, **loaded.settings})
    return {**settings, "stages": stages}


def _lines(numbers: list[int]) -> str:
    """Line numbers of a script, in words."""
    few = ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
    return f"{'line' if len(numbers) == 1 else 'lines'} {few}"


def _text(path: Path) -> str:
    try:
        raw = read_bytes(path, LARGEST)
    except InputFileError as error:
        raise MetadataError(str(error), "check the path") from None
    if raw.startswith(PICKLED):
        raise MetadataError(f"{path} is pickled, and pickles are never opened", "save the preset as JSON or text")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise MetadataError(f"{path} is not text", "save the preset as TOML, JSON or text") from None


def _ours(values: Mapping[str, Any], path: Path) -> PresetFile:
    """Settings in a section [refine] or at the top level, tables [[stage]]; metadata as in a configuration file.

    Raises MetadataError if there is another name among them; it names the file, ``path``.
    """
    settings = settings_in(values)
    if "refine" not in values:
        settings = {name: value for name, value in settings.items() if name not in (*SECTIONS, CORRECTIONS)}
    try:
        named = {name: value for name, value in settings.items() if name != NAME}  # a file may be a stage
        Preset.check_names(gathered(named, Preset.settings()))
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}", error.hint) from None
    return PresetFile(settings, _metadata(values), corrections=_corrections(values))


def _corrections(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata in the corrections section. Raises MetadataError for an unknown name."""
    corrections = as_table(values.get(CORRECTIONS) or {}, CORRECTIONS)
    for name in corrections:
        if name not in NAMES:
            hint = did_you_mean(name, NAMES, "see docs/conventions.md")
            raise MetadataError(f"unknown setting {CORRECTIONS}.{name}", hint)
    return dict(corrections)


def _metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata names and values from the sections that contain them."""
    by_place = {place: name for name, place in NAMES.items()}
    metadata: dict[str, Any] = {}
    for section in SECTIONS:
        for key, value in as_table(values.get(section) or {}, section).items():
            name = key if key in NAMES else by_place.get((section, key))
            if name is None:
                raise MetadataError(f"unknown setting {section}.{key}", "see docs/conventions.md")
            metadata[name] = value
    return metadata
