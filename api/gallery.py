"""Pictures for notebooks: grey, side by side."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import Array

SHOWN_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Gallery:
    """Grey pictures side by side, displayed by a notebook."""

    pictures: Mapping[str, Array]
    sampling_A: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    """Pixel size by title, (row, column): pixels are drawn in proportion; without an entry they are square."""

    def _repr_html_(self) -> str:
        shown = []
        for title, data in self.pictures.items():
            source = base64.b64encode(self._png(title, data)).decode()
            image = f'<img style="height:20em;image-rendering:pixelated" src="data:image/png;base64,{source}"/>'
            shown.append(f"<figure><figcaption>{escape(title)}</figcaption>{image}</figure>")
        return f'<div style="display:flex;flex-wrap:wrap">{"".join(shown)}</div>'

    def save(self, folder: str | Path) -> list[Path]:
        """Write every picture as ``<title>.png`` into a folder, which is created if needed; return the paths.

        Raises OSError if that fails.
        """
        written, target_folder = [], Path(folder).expanduser()
        target_folder.mkdir(parents=True, exist_ok=True)
        for title, data in self.pictures.items():
            target = target_folder / f"{title.split(',')[0]}.png"
            with replacing(target) as temporary:
                temporary.write_bytes(self._png(title, data))
            written.append(target)
        return written

    def _png(self, title: str, data: Array) -> bytes:
        from ptylive.pictures.snapshot import in_proportion, png

        grey = in_proportion(_grey(data), self.sampling_A.get(title))
        return png(np.repeat(grey[..., None], 3, axis=2))


def _grey(data: Array) -> Array:
    """Grey levels (rows, cols) uint8 between two percentiles."""
    low, high = np.percentile(data, SHOWN_PERCENTILES)
    scaled = (np.asarray(data, dtype=float) - low) / max(float(high - low), 1e-30)
    return np.asarray(255 * np.clip(scaled, 0, 1), dtype=np.uint8)
