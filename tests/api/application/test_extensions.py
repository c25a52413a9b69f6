"""Settings of extensions are known wherever presets are read."""

import re
from pathlib import Path

from ptylive.application.extensions import declare_extensions
from ptylive.schema.preset import added

ROOT = Path(__file__).resolve().parents[3]


def test_who_imports_presets_has_extensions_declared():
    assert declare_extensions in added._declared.sources


def test_rooms_above_the_engine_take_the_preset_from_there():
    """Otherwise a process with few imports, such as a refinement, would not know a plug-in's settings."""
    files = [path for room in ("api", "server", "dashboard") for path in (ROOT / room).rglob("*.py")]
    plain = re.compile(r"^ *from ptylive\.schema\.preset import|^ *from ptylive\.schema\.preset\.model", re.MULTILINE)
    found = [str(path.relative_to(ROOT)) for path in files if plain.search(path.read_text())]
    assert found == ["api/application/extensions.py"]
