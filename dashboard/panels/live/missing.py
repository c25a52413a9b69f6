"""Why a panel is empty: the missing metadata in words, each with a field to fill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ptylive.dashboard.client.map_kinds import METHODS_NEED, MapKind
from ptylive.dashboard.client.state import FINAL_STATES, ServerState
from ptylive.dashboard.panels.maps import MapPanel
from ptylive.dashboard.words import typeset

FIELDS = (
    ("energy_eV", "energy"),
    ("convergence_semiangle_mrad", "semi-angle"),
    ("scan_step_A", "scan step"),
)
"""Metadata that a person knows and maps require, in the order in which they are requested."""


def _clauses(state: ServerState) -> list[tuple[str, str]]:
    """What the server says which methods need, as (methods, need)."""
    found = (METHODS_NEED.fullmatch(remark) for remark in (state.message or "").split("; "))
    return [(clause[1], clause[2]) for clause in found if clause]


def _need(state: ServerState, kind: MapKind) -> str | None:
    """What the server says that a map needs; None if it says nothing of this map."""
    every = ((methods.split(","), need) for methods, need in _clauses(state))
    return next((need for methods, need in every if kind.method in map(str.strip, methods)), None)


def lacking(state: ServerState, kind: MapKind) -> list[tuple[str, str]]:
    """(name, label) of the values required for a map; empty if the map is only on its way.

    The server reports which maps lack something (``message`` of its status), and names the first missing value; all
    other values that nobody has given are requested at once. It reports nothing for a scan opened from the library,
    whose maps are all there if they could be made. Before any pattern of a scan has been examined, what it reports
    is why the maps are on their way: a short scan is complete before the code of its maps is compiled.
    """
    under_way = bool(state.message) and not state.of_patterns
    told = under_way or bool(_clauses(state))
    stored = state.state in FINAL_STATES and not told and bool(kind.method) and not kind.afterwards
    if not stored and _need(state, kind) is None:
        return []
    return [(name, label) for name, label in FIELDS if state.calibrated(name) is None]


def explained(state: ServerState, panels: Iterable[MapPanel]) -> tuple[dict[str, str], Mapping[str, Any]]:
    """For panels that are empty because their maps lack something: what it is, or values to be given in each."""
    lacks: list[list[tuple[str, str]]] = []
    notes = {}
    for index, panel in enumerate(panels):
        empty = not panel.view.showing
        lacks.append(lacking(state, panel.kind) if empty else [])
        need = _need(state, panel.kind) if empty else None
        if lacks[-1] or need:
            notes[f"map_{index}_note"] = "" if lacks[-1] else typeset(f"this map needs {need}")
    return notes, {"needs": [[{"name": name, "label": label} for name, label in missing] for missing in lacks]}
