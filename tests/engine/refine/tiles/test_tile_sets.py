"""Sets of states on disk: only complete ones, the last two, of this refinement and this cut."""

import numpy as np
import pytest

from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.checkpoint import Identity
from ptylive.engine.refine.tiles.tile_sets import TileSets
from ptylive.schema.errors import RefinementError

IDENTITY = Identity("data", {"batch_size": 24})


def sets(folder, tiles=2, identity=IDENTITY):
    return TileSets(folder / "run.checkpoint", tiles, identity)


def state(step):
    return lambda tile: f"{step} {tile}".encode() * 100


def test_the_newest_whole_set_is_found(tmp_path):
    written = sets(tmp_path)
    assert written.newest is None
    for step in range(4):
        written.save(state(step))
    found = sets(tmp_path)
    assert found.load() == ""
    assert [found.newest.read(tile) for tile in range(2)] == [state(3)(tile) for tile in range(2)]
    assert len(list(tmp_path.iterdir())) == 5  # two sets and the file that names them
    found.save(state(4))
    assert found.newest.read(1) == state(4)(1)


def test_a_damaged_set_is_left_for_the_one_before(tmp_path):
    written = sets(tmp_path)
    written.save(state(0))
    written.save(state(1))
    (tmp_path / written.newest.files[1]).write_bytes(b"half")
    found = sets(tmp_path)
    assert "continued from the previous one" in found.load()
    assert found.newest.read(1) == state(0)(1)
    for path in tmp_path.glob("*.tile1"):
        path.unlink()
    with pytest.raises(RefinementError, match="is damaged"):
        sets(tmp_path).load()


def test_a_set_that_could_not_be_finished_leaves_nothing(tmp_path):
    written = sets(tmp_path)
    written.save(state(0))

    def broken(tile):
        if tile:
            raise LookupError
        return b"first"

    with pytest.raises(LookupError):
        written.save(broken)
    assert written.newest.read(0) == state(0)(0)
    assert len(list(tmp_path.iterdir())) == 3


def test_those_of_other_refinements_and_cuts_are_refused(tmp_path):
    sets(tmp_path).save(state(0))
    with pytest.raises(RefinementError, match="other data"):
        sets(tmp_path, identity=Identity("others", {})).load()
    with pytest.raises(RefinementError, match="belongs to a run with 2 workers"):
        sets(tmp_path, tiles=3).load()
    sets(tmp_path).index.write_text("{")
    with pytest.raises(RefinementError, match="is damaged"):
        sets(tmp_path).load()


def test_checkpoints_of_tiles_are_removed_with_a_run(tmp_path):
    sets(tmp_path).save(lambda tile: np.zeros(3).tobytes())
    checkpoints.remove(tmp_path / "run.checkpoint")
    assert not list(tmp_path.iterdir())
