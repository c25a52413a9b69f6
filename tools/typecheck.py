"""Type-check the rooms under their installed names: mypy cannot see editable package-dir maps, so give it links."""

import subprocess
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
namespace = root / "build" / "ns" / "ptylive"
namespace.mkdir(parents=True, exist_ok=True)
for room in ("schema", "streamer", "engine", "dashboard", "simulators", "server"):
    link = namespace / room
    if not link.is_symlink():
        link.symlink_to(root / room, target_is_directory=True)
sys.exit(subprocess.call([sys.executable, "-m", "mypy", *sys.argv[1:]], cwd=root))
