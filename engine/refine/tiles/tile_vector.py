"""A tile's part of a parameter vector: rows of the object, all common parameters, and those of its patterns.

In this order: the rows held, the probe, and the other quantities as in the whole vector. Of per-pattern quantities
(positions, beam currents) a tile holds only the values of its own patterns; the probe and other parameters common to
all patterns (background, slice distances, aberrations) are held by every tile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ptylive.engine.refine.parameters.parameter_vector import Block, ParameterLayout
from ptylive.engine.refine.tiles.cutting import Rows, Tile
from ptylive.schema.model import Array


class Parts(NamedTuple):
    """Slices of a tile's vector, or of the whole vector, behind the object."""

    probe: slice
    shared: tuple[slice, ...]
    """Other quantities that are common to all patterns."""
    of_patterns: tuple[slice, ...]
    """Per-pattern quantities."""


def parts_of(layout: ParameterLayout) -> Parts:
    """The slices of a vector's parts."""
    (_, (probe, _), *block_parts) = layout.quantities()
    blocks = [(part, block.per_pattern) for (part, _), block in zip(block_parts, layout.blocks, strict=True)]
    shared, own = (tuple(part for part, varies in blocks if varies is wanted) for wanted in (False, True))
    return Parts(probe, shared, own)


def layout_of(layout: ParameterLayout, tile: Tile) -> ParameterLayout:
    """The layout of a tile's vector; ``layout``: that of the whole."""
    slices, _, columns = layout.object_shape
    shape = (slices, tile.rows[1] - tile.rows[0], columns)
    return replace(layout, object_shape=shape, blocks=tuple(_tile_block(block, tile) for block in layout.blocks))


def part_of_vector(layout: ParameterLayout, vector: Array, tile: Tile) -> Array:
    """A tile's part of the whole vector; ``layout``: that of the whole."""
    rows = rows_of(layout.object_block(vector), layout, tile.rows)
    values = layout.other_blocks(vector)
    block_values = [values[block.name][_tile_indices(block, tile)].ravel() for block in layout.blocks]
    return np.concatenate([rows, layout.probe_block(vector).ravel(), *block_values])


def add_part(layout: ParameterLayout, whole: Array, tile: Tile, vector: Array) -> None:
    """Copy a tile's counted values into the whole vector: rows, its patterns' values; from the first tile the rest."""
    tile_layout = layout_of(layout, tile)
    columns = layout.object_shape[2]
    tile_planes = tile_layout.object_block(vector).reshape(-1, tile_layout.object_shape[1], columns)
    target = layout.object_block(whole).reshape(len(tile_planes), -1, columns)
    target[:, slice(*tile.own)] = tile_planes[:, tile.local(tile.own)]
    if tile.number == 0:
        layout.probe_block(whole)[...] = tile_layout.probe_block(vector)
    whole_blocks, values = layout.other_blocks(whole), tile_layout.other_blocks(vector)
    for block in layout.blocks:
        if block.per_pattern or tile.number == 0:
            whole_blocks[block.name][_tile_indices(block, tile)] = values[block.name]


def rows_of(flat: Array, layout: ParameterLayout, rows: Rows) -> Array:
    """Rows of planes stored one after the other; ``layout``: that of the whole."""
    return flat.reshape(-1, *layout.object_shape[1:])[:, slice(*rows)].ravel()


def _tile_block(block: Block, tile: Tile) -> Block:
    indices = _tile_indices(block, tile)
    return replace(block, start=block.start[indices], curvature=block.curvature[indices])


def _tile_indices(block: Block, tile: Tile) -> Array | slice:
    """Indices of a quantity's values that a tile holds."""
    return tile.patterns if block.per_pattern else slice(None)
