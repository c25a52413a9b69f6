"""PyPty's presets: its complete parameter table, the fate of each row here, and the reading of its files."""

from ptylive.schema.pypty.convert import PyptyImport, import_preset
from ptylive.schema.pypty.rows import Fate, Row
from ptylive.schema.pypty.table import ROWS, parity_table

__all__ = ["ROWS", "Fate", "PyptyImport", "Row", "import_preset", "parity_table"]
