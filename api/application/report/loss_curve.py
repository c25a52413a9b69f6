"""The loss of a refinement against epochs, logarithmic, as SVG for embedding in a page."""

from __future__ import annotations

import numpy as np

from ptylive.schema.model import DoubleArray

WIDTH, HEIGHT = 480.0, 160.0
LEFT, BOTTOM, TOP = 64.0, 22.0, 8.0


def loss_curve(loss: DoubleArray) -> str:
    """SVG of (epochs,) values; empty for fewer than two finite ones. Values that are not positive are left out."""
    epochs = np.flatnonzero(np.isfinite(loss) & (loss > 0))
    if epochs.size < 2:
        return ""
    values = np.log10(loss[epochs])
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 1e-12)
    across = LEFT + (WIDTH - LEFT - TOP) * epochs / max(1, loss.size - 1)
    down = TOP + (HEIGHT - TOP - BOTTOM) * (high - values) / span
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    labels = [(LEFT - 6, TOP + 10, "end", 10**high), (LEFT - 6, HEIGHT - BOTTOM, "end", 10**low)]
    texts = [f'<text x="{x:g}" y="{y:g}" text-anchor="{side}">{value:.4g}</text>' for x, y, side, value in labels]
    texts += [
        f'<text x="{LEFT:g}" y="{HEIGHT - 5:g}">epoch 1</text>',
        f'<text x="{WIDTH - TOP:g}" y="{HEIGHT - 5:g}" text-anchor="end">{loss.size}</text>',
    ]
    frame = f"M{LEFT:g},{TOP:g} V{HEIGHT - BOTTOM:g} H{WIDTH - TOP:g}"
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="loss against epoch, logarithmic">'
        f'<path class="axes" d="{frame}"/><polyline points="{points}"/>{"".join(texts)}</svg>'
    )
