"""What a tile holds of a vector of parameters: rows of the object, all that is shared, and what its patterns have.

In this order: the rows held, the probe, and the other quantities as in the whole vector. Of a quantity that each
pattern has (positions, beam currents) a tile holds the values of its own patterns, which no other tile does; the probe
and what else all patterns share (a background, distances of slices, aberrations) are held by every tile alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ptylive.engine.refine.parameters.parameter_vector import Block, ParameterLayout
from ptylive.engine.refine.tiles.cutting import Rows, Tile
from ptylive.schema.model import Array


class Parts(NamedTuple):
    """Where things lie in a tile's vector, or in that of the whole, behind the object."""

    probe: slice
    shared: tuple[slice, ...]
    """Of other quantities, those that all patterns have in common."""
    of_patterns: tuple[slice, ...]
    """Those of each pattern."""


def parts_of(layout: ParameterLayout) -> Parts:
    """Where the parts of a vector lie."""
    (_, (probe, _), *others) = layout.quantities()
    blocks = [(part, block.per_pattern) for (part, _), block in zip(others, layout.blocks, strict=True)]
    shared, own = (tuple(part for part, each in blocks if each is wanted) for wanted in (False, True))
    return Parts(probe, shared, own)


def layout_of(layout: ParameterLayout, tile: Tile) -> ParameterLayout:
    """The layout of what a tile holds; ``layout``: of the whole."""
    slices, _, columns = layout.object_shape
    shape = (slices, tile.rows[1] - tile.rows[0], columns)
    return replace(layout, object_shape=shape, blocks=tuple(_of_tile(block, tile) for block in layout.blocks))


def part_of_vector(layout: ParameterLayout, vector: Array, tile: Tile) -> Array:
    """What a tile holds of the vector of the whole; ``layout``: of the whole."""
    rows = rows_of(layout.object_block(vector), layout, tile.rows)
    values = layout.other_blocks(vector)
    others = [values[block.name][_taken(block, tile)].ravel() for block in layout.blocks]
    return np.concatenate([rows, layout.probe_block(vector).ravel(), *others])


def add_part(layout: ParameterLayout, whole: Array, tile: Tile, vector: Array) -> None:
    """Put what counts at a tile into the vector of the whole: rows, its patterns' values, and the first tile's rest."""
    here = layout_of(layout, tile)
    columns = layout.object_shape[2]
    mine = here.object_block(vector).reshape(-1, here.object_shape[1], columns)
    target = layout.object_block(whole).reshape(len(mine), -1, columns)
    target[:, slice(*tile.own)] = mine[:, tile.local(tile.own)]
    if tile.number == 0:
        layout.probe_block(whole)[...] = here.probe_block(vector)
    found, values = layout.other_blocks(whole), here.other_blocks(vector)
    for block in layout.blocks:
        if block.per_pattern or tile.number == 0:
            found[block.name][_taken(block, tile)] = values[block.name]


def rows_of(flat: Array, layout: ParameterLayout, rows: Rows) -> Array:
    """Rows of planes that lie flat behind one another; ``layout``: of the whole."""
    return flat.reshape(-1, *layout.object_shape[1:])[:, slice(*rows)].ravel()


def _of_tile(block: Block, tile: Tile) -> Block:
    taken = _taken(block, tile)
    return replace(block, start=block.start[taken], curvature=block.curvature[taken])


def _taken(block: Block, tile: Tile) -> Array | slice:
    """Which values of a quantity a tile holds."""
    return tile.patterns if block.per_pattern else slice(None)
