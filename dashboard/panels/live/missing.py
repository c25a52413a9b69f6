"""Why a panel is empty: the missing metadata in words, each with a field to fill."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ptylive.dashboard.client.map_kinds import MapKind
from ptylive.dashboard.client.state import FINAL_STATES, ServerState
from ptylive.dashboard.panels.maps import MapPanel

FIELDS = (
    ("energy_eV", "energy"),
    ("convergence_semiangle_mrad", "semi-angle"),
    ("scan_step_A", "scan step"),
)
"""Metadata that a person knows and maps require, in the order in which they are requested."""
_CLAUSE = re.compile(r"(?:^|; )([\w, ]+): needs ([^;]*)")


def lacking(state: ServerState, kind: MapKind) -> list[tuple[str, str]]:
    """(name, label) of the values required for a map; empty if the map is only on its way.

    The server reports which maps lack something (``message`` of its status), and names the first missing value; all
    other values that nobody has given are requested at once. It reports nothing for a scan opened from the library,
    whose maps are all there if they could be made. Before any pattern of a scan has been examined, what it reports
    is why the maps are on their way: a short scan is complete before the code of its maps is compiled.
    """
    clauses = _CLAUSE.findall(state.message or "")
    under_way = bool(state.message) and not state.of_patterns
    stored = state.state in FINAL_STATES and not clauses and not under_way and bool(kind.method) and not kind.afterwards
    if not stored and not any(kind.method in map(str.strip, methods.split(",")) for methods, _ in clauses):
        return []
    return [(name, label) for name, label in FIELDS if state.calibrated(name) is None]


def explained(state: ServerState, panels: Iterable[MapPanel]) -> tuple[dict[str, str], Mapping[str, Any]]:
    """For panels that are empty only for lack of metadata: their notes, and the values to be given in each."""
    lacks = [[] if panel.view.showing else lacking(state, panel.kind) for panel in panels]
    notes = {f"map_{index}_note": "" for index, names in enumerate(lacks) if names}
    return notes, {"needs": [[{"name": name, "label": label} for name, label in missing] for missing in lacks]}
