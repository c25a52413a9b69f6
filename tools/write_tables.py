"""Write the tables of the documents that come from the code: settings.md, maps.md, troubleshooting.md, …"""

from pathlib import Path

import messages
import python_reference

import ptylive.application.extensions  # noqa: F401  (settings declared with what they belong to)
from ptylive.engine.imaging import registry
from ptylive.schema.foreign_plans.basis_paper import published_table
from ptylive.schema.foreign_plans.phaser import phaser_parity
from ptylive.schema.foreign_plans.ptyrad import ptyrad_parity
from ptylive.schema.preset.describe import table
from ptylive.schema.pypty import parity_table
from ptylive.schema.simulation import settings as simulation

DOCS = Path(__file__).resolve().parents[1] / "docs"
START = "<!-- from the code: tools/write_tables.py -->\n"


def write(name: str, text: str) -> None:
    """Put ``text`` after the mark in a document."""
    path = DOCS / name
    head, mark, _ = path.read_text(encoding="utf-8").partition(START)
    path.write_text(f"{head}{mark}\n{text}", encoding="utf-8")


write("settings.md", table())
write("pypty-parity.md", parity_table())
write("ptyrad-phaser-parity.md", f"## PtyRAD\n\n{ptyrad_parity()}\n## phaser\n\n{phaser_parity()}")
write("maps.md", f"{registry.table()}\n{registry.settings_table()}")
write("simulate.md", simulation.table())
write("compression.md", published_table())
write("troubleshooting.md", messages.table())
write("python.md", python_reference.reference())
