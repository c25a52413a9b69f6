"""Files that ``ptylive analyse`` writes under fixed names: existing ones are replaced only if ptylive wrote them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ptylive.application.outputs import OTHER_FOLDER, check_output_file, check_own_file
from ptylive.schema import InputFileError
from ptylive.schema.files.small_files import read_text

FIGURES = "analysis.json"
"""Written first: arrays cannot say who wrote them, and are recognised by it."""
_MADE = frozenset({"run", "object", "probe"})
"""Figures of every analysis, of earlier versions too."""
_MOST_BYTES = 2**28
_NAMES = re.compile(
    r"(object_phase|object_on_scan|columns|section|phase_deviation|probe_phase|probe_mode_\d+|probe_modes|object_modes"
    r"|colour_wheel|\w+_components|loss|log_\w+|prior|comparison\w*|ring_correlation|half_dose)\.png"
    r"|(counting_deviation_rad|phase_deviation_rad|information_limit_A|object_on_scan_rad)\.npy"
)


def is_name(name: str) -> bool:
    """Whether an analysis may write a file of this name."""
    return name == FIGURES or _NAMES.fullmatch(name) is not None


def check_analysis(folder: Path, names: Iterable[str] | None = None) -> None:
    """Raise InputFileError if an analysis would replace a file of another origin; ``names``: default all possible."""
    if names is None:
        names = sorted(path.name for path in folder.iterdir() if is_name(path.name)) if folder.is_dir() else ()
    is_ours = _wrote_figures(folder / FIGURES)
    for name in names:
        path = folder / name
        if path.suffix == ".png":
            check_own_file(path, "png", other=OTHER_FOLDER)
            continue
        check_output_file(path)
        if path.exists() and not is_ours:
            problem = f"{path} exists, and nothing in it or next to it says that ptylive analyse wrote it"
            raise InputFileError(problem, f"{OTHER_FOLDER}, or remove it first")


def _wrote_figures(path: Path) -> bool:
    try:
        stored = json.loads(read_text(path, _MOST_BYTES))
    except (InputFileError, OSError, ValueError, RecursionError):
        return False
    return isinstance(stored, dict) and set(stored) >= _MADE
