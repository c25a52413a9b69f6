"""The parts of a vector held by tiles fit together again, and tiles know which parts others hold as well."""

from dataclasses import replace

import numpy as np

from ptylive.engine.refine.parameters.parameter_vector import Block, BlockName, ObjectForm
from ptylive.engine.refine.tiles.tile_part import tiles_of
from ptylive.engine.refine.tiles.tile_vector import add_part, layout_of, part_of_vector, parts_of


def blocks(patterns):
    """Quantities of each pattern and of all, in turn."""
    rng = np.random.default_rng(3)
    shapes = {
        BlockName.SHIFTS: (patterns, 2),
        BlockName.BACKGROUND: (24, 24),
        BlockName.CURRENT: (patterns,),
        BlockName.DISTANCES: (2,),
    }
    return tuple(
        Block(name, rng.random(shape).astype(np.float32), 1 + rng.random(shape).astype(np.float32))
        for name, shape in shapes.items()
    )


def laid_out(problem):
    layout = problem.layout
    shape = (3, *layout.object_shape[1:])
    count = problem.multislice.count
    return replace(layout, object_form=ObjectForm.COMPLEX, object_shape=shape, blocks=blocks(count))


def test_what_counts_makes_up_the_whole(problem):
    layout = laid_out(problem)
    vector = np.random.default_rng(0).random(layout.size).astype(np.float32)
    found = np.full_like(vector, np.nan)
    for tile in tiles_of(problem, 4):
        mine = part_of_vector(layout, vector, tile)
        assert mine.size == layout_of(layout, tile).size
        if tile.number > 0:  # shared quantities are taken from the first tile
            here = layout_of(layout, tile)
            here.probe_block(mine)[...] = np.nan
            here.other_blocks(mine)[BlockName.BACKGROUND][...] = np.nan
        add_part(layout, found, tile, mine)
    np.testing.assert_array_equal(found, vector)


def test_a_tile_has_what_its_patterns_have(problem):
    layout = laid_out(problem)
    vector = np.random.default_rng(1).random(layout.size)
    whole = layout.other_blocks(vector)
    for tile in tiles_of(problem, 3):
        here = layout_of(layout, tile)
        mine = here.other_blocks(part_of_vector(layout, vector, tile))
        assert (mine[BlockName.SHIFTS] == whole[BlockName.SHIFTS][tile.patterns]).all()
        assert (mine[BlockName.CURRENT] == whole[BlockName.CURRENT][tile.patterns]).all()
        assert (mine[BlockName.BACKGROUND] == whole[BlockName.BACKGROUND]).all()
        for block, of_all in zip(here.blocks, layout.blocks, strict=True):
            taken = tile.patterns if block.per_pattern else slice(None)
            assert (block.curvature == of_all.curvature[taken]).all()


def test_parts_lie_one_behind_the_other(problem):
    layout = laid_out(problem)
    parts = parts_of(layout)
    assert parts.probe == slice(layout.object_size, layout.object_size + layout.probe_size)
    sizes = [[part.stop - part.start for part in each] for each in (parts.shared, parts.of_patterns)]
    assert sizes == [[24 * 24, 2], [2 * problem.multislice.count, problem.multislice.count]]
    ends = sorted((part.start, part.stop) for part in (*parts.shared, *parts.of_patterns))
    assert [start for start, _ in ends] == [parts.probe.stop, *(stop for _, stop in ends[:-1])]
    assert ends[-1][1] == layout.size
