"""PyPty's presets: its complete parameter table, how each row is supported here, and the reading of its files."""

from ptylive.schema.pypty.convert import PyptyImport, import_preset
from ptylive.schema.pypty.rows import Row, Support
from ptylive.schema.pypty.table import ROWS, parity_table

__all__ = ["ROWS", "PyptyImport", "Row", "Support", "import_preset", "parity_table"]
