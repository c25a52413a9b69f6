"""Links to the rooms under their installed names."""

import importlib.util
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "link_tree.py"


def test_what_python_keeps_there_stays_and_links_to_what_is_gone_do_not(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("link_tree", TOOL)
    link_tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(link_tree)
    monkeypatch.setattr(link_tree, "NAMESPACE", tmp_path)
    kept = tmp_path / "ptylive" / "__pycache__"
    kept.mkdir(parents=True)
    gone = tmp_path / "ptylive" / "attic"
    gone.symlink_to(tmp_path / "nowhere")
    link_tree.make()
    assert kept.is_dir()
    assert not gone.is_symlink()
    assert (tmp_path / "ptylive" / "engine").samefile(link_tree.ROOT / "engine")
