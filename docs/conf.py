"""How Sphinx builds the documentation site from these Markdown files: make docs (CONTRIBUTING.md)."""

import tomllib
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer

ROOT = Path(__file__).resolve().parents[1]

project = "ptylive"
author = "The ptylive developers"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx_external_toc", "sphinx_copybutton"]
# The source folder is the repository: so links between docs and CONTRIBUTING.md are the same on the forge and here.
include_patterns = ["docs/**", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
exclude_patterns = [".*", "build", "*.egg-info", "**/__pycache__"]
root_doc = "docs/index"
external_toc_path = "docs/_toc.yml"
external_toc_exclude_missing = False

myst_heading_anchors = 4  # the forge's names of headings
myst_enable_extensions: list[str] = []
smartquotes = False  # commands are copied from here
nitpicky = True

html_theme = "furo"
html_title = f"ptylive {release}"
html_baseurl = ""
html_extra_path = ["site/index.html"]  # index.html, which leads to docs/index.html
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": False}
highlight_language = "text"
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: Any) -> None:
    """Messages byte by byte, and other programs' files, are shown as they are."""
    for language in ("hex", "caddy"):
        app.add_lexer(language, TextLexer)
