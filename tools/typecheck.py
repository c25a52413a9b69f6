"""Type-check the rooms under their installed names (link_tree.py)."""

import subprocess
import sys

from link_tree import ROOT, make

make()
sys.exit(subprocess.call([sys.executable, "-m", "mypy", *sys.argv[1:]], cwd=ROOT))
