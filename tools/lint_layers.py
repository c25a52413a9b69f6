"""The contracts of import-linter (pyproject.toml), over the rooms under their installed names (link_tree.py)."""

import os
import subprocess
import sys
from pathlib import Path

from link_tree import ROOT, make

program = Path(sys.executable).with_name("lint-imports")
environment = {**os.environ, "PYTHONPATH": str(make())}
sys.exit(subprocess.call([str(program), "--no-cache", *sys.argv[1:]], cwd=ROOT, env=environment))
