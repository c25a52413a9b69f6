"""Live maps from other packages: they are found, and their failures affect nothing but themselves."""

import importlib
import json
import logging
import os
import subprocess
import sys
from concurrent.futures import Future
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.dashboard.client.map_kinds import MapKinds
from ptylive.engine.imaging import filters as filters_module
from ptylive.engine.imaging import registry, render
from ptylive.engine.imaging.bank import Picture
from ptylive.engine.imaging.declaration import MapWords, Method, Needs, with_deviation
from ptylive.engine.imaging.filters import Filter, FilterStock
from ptylive.engine.imaging.instant import MapChoices
from ptylive.engine.imaging.plugins import GROUP, from_packages, guarded
from ptylive.engine.live.engine import LiveEngine

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "plugin"
OWN = list(registry.own_methods())


def installed(folder: Path, package: str, target: str) -> Path:
    """The metadata that an installer writes for a package."""
    info = folder / f"{package.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nmine = {target}\n")
    return folder


def method(name="mine", **more):
    shown = MapWords(name, label="mine", units="rad", shows="something", trust="never")
    return Method(name, **{"title": "mine", "needs": Needs.MOMENTS, "maps": (shown,), "source": "other", **more})


WHOLE = """
import json
from synthetic import WeakPhaseScan, batches
from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.imaging import registry
from ptylive.engine.imaging.render import METHODS, check_methods
from ptylive.engine.live.engine import LiveEngine, reconstruct

use_persistent_cache()
scan = WeakPhaseScan.make({}, n=12, strength=0.05)
_, offline = reconstruct(scan.header(), lambda: batches(scan.patterns), ["bf", "com_curl"])
live = LiveEngine(scan.header(), methods=["bf", "com_curl"])
for batch in batches(scan.patterns[:72]):
    live.add(batch)
print(json.dumps({
    "methods": METHODS,
    "offline": [one.name for one in offline.maps],
    "live": [one.name for one in live.refresh().maps],
    "kinds": registry.describe(),
    "table": registry.table(registry.methods().values()),
    "problems": registry.found().problems,
}))
"""


def test_a_package_brings_a_map_from_outside(tmp_path):
    """Command line, live engine, dashboard and document include it, and a broken package alongside does no harm."""
    installed(tmp_path, "ptylive-curl", "ptylive_curl")
    installed(tmp_path, "broken-maps", "no_such_module")
    path = os.pathsep.join(map(str, (tmp_path, EXAMPLE, ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-c", WHOLE],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    own = [one.name for one in sorted(OWN, key=lambda one: one.rank)]
    assert [name for name in said["methods"] if name in own] == own
    assert set(said["methods"]) == {*own, "com_curl"}
    assert said["offline"] == said["live"] == ["bf", "com_curl"]
    assert ("com_curl", "curl of the centre of mass") in MapKinds.from_plain(said["kinds"]).offered(())
    (row,) = (row for row in said["table"].splitlines() if row.startswith("| `com_curl`"))
    assert row.endswith("by ptylive-curl |")
    (problem,) = said["problems"]
    assert "package broken-maps" in problem
    assert "no_such_module" in problem
    assert done.stderr.count("broken-maps") == 1


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield importlib.import_module("ptylive_curl")
    sys.modules.pop("ptylive_curl", None)


def test_the_example_s_entry_point_is_what_its_project_file_says(example, tmp_path, monkeypatch):
    assert 'curl = "ptylive_curl"' in (EXAMPLE / "pyproject.toml").read_text()
    monkeypatch.syspath_prepend(str(installed(tmp_path, "ptylive-curl", "ptylive_curl")))
    (found,), problems = from_packages(OWN)
    assert not problems
    assert (found.name, found.outputs, found.source) == ("com_curl", ("com_curl",), "ptylive-curl")


def test_the_example_s_map_is_a_curl(example):
    row, col = np.mgrid[:6, :7].astype(float)
    visited = np.ones((6, 7), bool)
    turning = example.curl(np.stack([-3.0 * col * 0.5, 3.0 * row * 0.25]), (0.25, 0.5), visited)
    np.testing.assert_allclose(turning[1:-1, 1:-1], 6.0)
    gradient = np.stack(np.gradient(np.sin(row) * col**2))
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(example.curl(gradient, (1.0, 1.0), visited)[inner], 0.0, atol=1e-12)
    visited[3, 3] = False
    assert np.argwhere(example.curl(np.stack([-col, row]), (1.0, 1.0), visited)[1:-1, 1:-1] == 0).tolist() == [
        [1, 2], [2, 1], [2, 3], [3, 2],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no\\nlicence')", "RuntimeError: no licence"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import no_such_thing", "No module named 'no_such_thing'"),
        ("x = 1", "it declares nothing with @live_map"),
        ("from ptylive.engine.imaging.declaration import Method\nMethod('X', '', None, ())", "not a valid map name"),
    ],
)
def test_a_package_that_cannot_be_loaded_costs_a_line(tmp_path, monkeypatch, caplog, code, reason):
    (tmp_path / "spoilt_maps.py").write_text(code)
    monkeypatch.syspath_prepend(str(installed(tmp_path, "spoilt", "spoilt_maps")))
    monkeypatch.delitem(sys.modules, "spoilt_maps", raising=False)
    with caplog.at_level(logging.WARNING):
        methods, problems = from_packages(OWN)
    assert not methods
    (line,) = problems
    assert "package spoilt" in line
    assert reason in line
    assert "\n" not in line
    assert caplog.messages == problems


def test_a_name_that_is_taken_is_refused_by_name(example, tmp_path):
    entries = [EntryPoint(name, "ptylive_curl", GROUP) for name in ("first", "second")]
    methods, (problem,) = from_packages(OWN, entries)
    assert [one.name for one in methods] == ["com_curl"]
    assert "the name com_curl is already used by ptylive_curl" in problem
    own = [*OWN, method("other", maps=(MapWords("com_curl", "x", "", "x", "x"),), source="ptylive")]
    methods, problems = from_packages(own, entries[:1])
    assert not methods
    assert "the name com_curl is already used by ptylive" in problems[0]


@pytest.fixture(scope="module")
def engine():
    scan = WeakPhaseScan.make({}, n=12, strength=0.05)
    live = LiveEngine(scan.header(), methods=["bf"])
    for batch in batches(scan.patterns):
        live.add(batch)
    return live


def rendered(engine, monkeypatch, one, filters=None):
    """Render the bright field together with a package's method."""
    known = {"bf": registry.methods()["bf"], one.name: one}
    monkeypatch.setattr(render, "METHODS", tuple(known))
    monkeypatch.setattr(registry, "methods", lambda: known)
    out = render.render(engine.store, engine.calibration, filters or {}, known)
    assert "bf" in {live_map.name for live_map in out.maps}
    return out


def pictures(data, name="mine", **more):
    return lambda *_: iter([Picture(name, data, "rad", "mine", **more)])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda now: 1 / 0, "ZeroDivisionError"),
        (lambda now: None, "TypeError"),
        (lambda now: ["picture"], "it made 'str'"),
        (pictures(np.zeros((12, 12)), "bf"), "it made 'bf', but declares mine"),
        (pictures(np.zeros((12, 11))), "has shape"),
        (pictures(np.zeros(144)), "has shape"),
        (pictures(np.zeros((1200, 1200))), "has shape"),
        (pictures(np.full((12, 12), np.nan)), "not finite numbers"),
        (pictures(np.zeros((12, 12), complex)), "not finite numbers"),
        (pictures(np.zeros((12, 12)), settings={"self": object()}), "texts and numbers"),
    ],
)
def test_a_map_that_fails_says_so_and_the_others_are_made(engine, monkeypatch, make, reason):
    out = rendered(engine, monkeypatch, guarded(method(make=make)))
    assert len(out.maps) == 1
    assert "mine of package other failed" in out.missing["mine"]
    assert reason in out.missing["mine"]


def test_a_map_that_works_is_shown(engine, monkeypatch):
    out = rendered(engine, monkeypatch, guarded(method(make=pictures(np.ones((24, 24), np.int16)))))
    assert not out.missing
    assert out.maps[-1].data.dtype == np.float32
    assert out.maps[-1].sampling_A == pytest.approx((0.25, 0.25))


def draws(shape):
    return lambda: np.random.default_rng(0).normal(size=shape)


def concluded(engine, monkeypatch, noise):
    """Maps of a package's method at the end of a scan, deviation included."""
    one = guarded(method(maps=with_deviation(method().maps[0]), make=pictures(np.ones((12, 12)), noise=noise)))
    known = {one.name: one}
    monkeypatch.setattr(render, "METHODS", tuple(known))
    monkeypatch.setattr(registry, "methods", lambda: known)
    return render.render(engine.store, engine.calibration, {}, known, choices=MapChoices(deviations=True))


def test_a_map_that_tells_its_noise_gets_a_deviation(engine, monkeypatch):
    out = concluded(engine, monkeypatch, draws((3, 12, 12)))
    assert not out.missing
    plain, deviation = out.maps
    assert (plain.name, deviation.name) == ("mine", "mine_deviation")
    np.testing.assert_allclose(deviation.data.mean(), 1.0, atol=0.2)  # 432 draws of 1, in overlapping windows


@pytest.mark.parametrize(
    ("noise", "reason"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (draws((12, 11)), "the noise of mine has shape (12, 11), the map (12, 12)"),
        (lambda: np.full((12, 12), np.inf), "the noise of mine holds values that are not finite numbers"),
    ],
)
def test_noise_that_cannot_be_used_costs_the_deviation_only(engine, monkeypatch, noise, reason):
    out = concluded(engine, monkeypatch, noise)
    assert [one.name for one in out.maps] == ["mine"]
    (line,) = out.missing.values()
    assert "mine of package other failed" in line
    assert reason in line


class Filters:
    """Filters of a package that fail at the given step."""

    def __init__(self, at):
        self.at = at

    def build(self, _conditions, _mean):
        assert self.at != "build"
        return self

    def pictures(self, spectra):
        assert self.at != "pictures"
        yield Picture("mine", np.zeros(spectra.visited.shape), "rad", "mine")


class AtOnce:
    """An executor that runs the job at once but reports its failure later, as a background executor does."""

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.mark.parametrize("background", [None, AtOnce()])
@pytest.mark.parametrize("at", ["build", "pictures", ""])
def test_filters_that_fail_say_so_and_the_others_are_made(engine, monkeypatch, background, at):
    one = guarded(method(needs=Needs.FILTERS, build=Filters(at).build))
    monkeypatch.setattr(filters_module, "BUILDERS", {"mine": one.build})
    stock = FilterStock(("mine",), background)
    stock.order(engine._conditions(), np.zeros(engine.store.reduction.basis.count))
    stock.need(["mine"])
    stock.collect()
    assert isinstance(stock.ready["mine"], Filter)
    out = rendered(engine, monkeypatch, one, stock.ready)
    assert ("mine" in {live_map.name for live_map in out.maps}) == (not at)
    assert ("mine of package other failed: AssertionError" in out.missing.get("mine", "")) == bool(at)
