"""Presets published in papers, by name: ``--preset basis-paper:4a-d``.

"Lossy compression of electron diffraction patterns for ptychography via change of basis", Table 1: weights of the parts
of its loss. Only their ratios are meaningful here, since its normalisation differs: each is divided by that of the main
part, which is the data term. Its learning rates belong to another optimiser, and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ptylive.schema.errors import MetadataError, did_you_mean

PAPER = "basis-paper"


@dataclass(frozen=True)
class PaperRow:
    """A row of the table: weights of eqs. 9 to 12 and of the two regularisers."""

    figure: str
    algorithm: str
    main: float
    bright: float = 0.0
    dark: float = 0.0
    edge: float = 0.0
    probe: float = 0.0
    l1: float = 7e-7
    variation: float = 7e-6
    positions: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The row as settings of a refinement."""
        parts = {
            "perpendicular_weight": self.bright,
            "perpendicular_weight_dark": self.dark,
            "edge_weight": self.edge,
            "probe_reg_constraint_weight": self.probe,
            "phase_norm_weight": self.l1,
            "atv_weight": self.variation,
        }
        found: dict[str, Any] = {"algorithm": self.algorithm, "phase_only_obj": True}
        if self.algorithm == "lsq_compressed":
            found["noise_weighting"] = False
        if self.positions:
            found["update_probe_pos"] = True
        return found | {name: float(f"{weight / self.main:.3g}") for name, weight in parts.items() if weight}


ROOTS, COUNTS = "sqrt_compressed", "lsq_compressed"
ROWS: tuple[PaperRow, ...] = (
    PaperRow("3c-f", "lsq_sqrt", 4e-6),
    PaperRow("4a-d", ROOTS, 2.2e-2, 5e-4, 5e-5, 5e-2, 5e-2),
    PaperRow("4e-h", ROOTS, 1.5e-2, 1e-4, 1e-3, 5e-2, 5e-2),
    PaperRow("4i-l", ROOTS, 2.2e-2, 1e-4, 1e-3, 5e-2, 5e-2),
    PaperRow("4m-p", ROOTS, 4.6e-3, 1e-4, 1e-3, 5e-2, 1e-4),
    PaperRow("5a-d", ROOTS, 2.2e-2, 1e-4, 1e-3, 5e-2, 1e-4),
    PaperRow("5e", ROOTS, 1.9e-2, 1e-4, 1e-3, 5e-2, 1e-4),
    PaperRow("5g-j", ROOTS, 2.7e-2, 5e-5, 5e-4, 5e-2, 5e-2),
    PaperRow("5k", ROOTS, 2.2e-2, 5e-5, 5e-4, 5e-2, 5e-2),
    PaperRow("5m-p", ROOTS, 6.3e-2, 5e-5, 5e-4, 5e-2, 5e-2),
    PaperRow("5q", ROOTS, 3.2e-2, 5e-5, 5e-4, 5e-2, 5e-2),
    PaperRow("9-without", ROOTS, 1.5e-2, 0.0, 0.0, 5e-2, 5e-2),
    PaperRow("9-with", ROOTS, 1.5e-2, 1e-4, 1e-3, 5e-2, 5e-2),
    PaperRow("10a-h", ROOTS, 6.3e-2, 5e-2, 5e-2, 5e-1, 1e-1),
    PaperRow("10i-p", ROOTS, 6.3e-2, 5e-2, 5e-2, 5e-1, 1e-1, 7e0, 7e-2),
    PaperRow("6a", COUNTS, 6.3e-2, probe=1e-6, l1=3e-6, variation=3e-5, positions=True),
    PaperRow("6b", COUNTS, 2.7e-2, probe=1e-6, l1=3e-6, variation=3e-5, positions=True),
    PaperRow("6c", COUNTS, 2.2e-2, probe=1e-6, l1=3e-6, variation=3e-5, positions=True),
)
"""Includes figures 9 and 10 of the appendices; figure 9 has two rows, without and with the perpendicular parts."""
PUBLISHED: Mapping[str, PaperRow] = MappingProxyType({f"{PAPER}:{row.figure}": row for row in ROWS})


def published(name: str) -> dict[str, Any] | None:
    """Settings of a preset by its name; None for other names. Raises MetadataError for an unknown row."""
    if not name.startswith(f"{PAPER}:"):
        return None
    if name not in PUBLISHED:
        raise MetadataError(f"unknown preset {name}", did_you_mean(name, PUBLISHED, "docs/compression.md lists all"))
    return PUBLISHED[name].settings


def published_table() -> str:
    """The rows as Markdown."""
    names = (
        "perpendicular_weight",
        "perpendicular_weight_dark",
        "edge_weight",
        "probe_reg_constraint_weight",
        "phase_norm_weight",
        "atv_weight",
    )
    lines = [
        "| `--preset` | `algorithm` | " + " | ".join(f"`{name}`" for name in names) + " |",
        "| --- | --- |" + " --- |" * len(names),
    ]
    for name, row in PUBLISHED.items():
        values = " | ".join(f"{row.settings.get(each, 0):g}" for each in names)
        lines.append(f"| `{name}` | {row.algorithm} | {values} |")
    return "\n".join(lines) + "\n"
