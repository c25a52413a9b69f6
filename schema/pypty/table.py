"""PyPty's parameter table (its README), row by row, and how each row is supported."""

from __future__ import annotations

from ptylive.schema.pypty.rows import Row
from ptylive.schema.pypty.table_constraints import CONSTRAINTS
from ptylive.schema.pypty.table_experiment import EXPERIMENT
from ptylive.schema.pypty.table_solver import SOLVER

ROWS: tuple[Row, ...] = (*EXPERIMENT, *SOLVER, *CONSTRAINTS)
"""Every parameter of ``run_ptychography``, ``create_pypty_data`` and ``append_exp_params``."""


def row_of(name: str) -> Row | None:
    """The row of a parameter; None for one that PyPty lacks. The first row is used for a name that occurs twice."""
    return next((row for row in ROWS if row.name == name), None)


def parity_table() -> str:
    """The table as Markdown, a section for each of PyPty's."""
    lines: list[str] = []
    for section in dict.fromkeys(row.section for row in ROWS):
        lines += [
            f"## {section}",
            "",
            "| PyPty | default | support | here | remark |",
            "| --- | --- | --- | --- | --- |",
        ]
        for row in ROWS:
            if row.section == section:
                keys = ", ".join(f"`{key}`" for key in row.keys) or "—"
                lines.append(f"| `{row.name}` | {row.default} | {row.support} | {keys} | {row.remark} |")
        lines.append("")
    return "\n".join(lines)
