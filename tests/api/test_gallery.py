"""Pictures in a notebook."""

import numpy as np
from PIL import Image

from ptylive.gallery import Gallery


def test_titles_are_harmless():
    assert "<script>" not in Gallery({"<script>": np.zeros((2, 2))})._repr_html_()


def test_pictures_become_files_named_by_what_stands_before_the_comma(tmp_path):
    (written,) = Gallery({"obf, rad": np.eye(4)}).save(tmp_path / "made")
    assert written.name == "obf.png"
    assert written.read_bytes().startswith(b"\x89PNG")


def test_the_folder_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (written,) = Gallery({"obf, rad": np.eye(4)}).save("~/made")
    assert written == tmp_path / "made" / "obf.png"


def test_pixels_are_drawn_as_long_as_they_are(tmp_path):
    (written,) = Gallery({"obf, rad": np.eye(4)}, {"obf, rad": (1.0, 0.5)}).save(tmp_path)
    assert Image.open(written).size == (4, 8)
