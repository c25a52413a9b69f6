"""The list of live maps, and checks that each map's description is true."""

from pathlib import Path

import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.engine.imaging import maps, registry
from ptylive.engine.imaging.declaration import FILTER_OPTICS, MapWords, Method, Needs, declared, live_map
from ptylive.engine.imaging.render import render
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.schema import Calibration

OWN = tuple(sorted(registry.own_methods(), key=lambda one: one.rank))
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "maps.md"


@pytest.fixture(scope="module")
def scan():
    return WeakPhaseScan.make({"C10": -60.0}, n=16, strength=0.05)


@pytest.fixture(scope="module")
def made(scan):
    return reconstruct(scan.header(lies_still=True), lambda: batches(scan.patterns), [one.name for one in OWN])


def words(name="mine", **more):
    return MapWords(name, **{"label": "mine", "units": "rad", "shows": "something", "trust": "never", **more})


def test_the_order_in_which_maps_are_made_stays():
    expected = ("bf", "abf", "adf", "com", "idpc", "dpc_iterative", "obf", "tcbf", "wdd", "ssb")
    assert tuple(one.name for one in OWN) == expected
    assert [one.name for one in OWN if one.build is not None] == ["obf", "tcbf", "wdd", "ssb"]
    assert {one.name for one in OWN if one.afterwards} == {"dpc_iterative", "ssb"}


def test_the_chooser_s_order_stays():
    kinds = registry.describe(OWN)
    assert [one["name"] for one in kinds] == [
        "obf", "tcbf", "idpc", "adf", "bf", "abf", "wdd_phase", "wdd_amplitude", "com_row", "com_col", "ssb",
        "ssb_amplitude", "dpc_iterative", "obf_deviation", "tcbf_deviation", "idpc_deviation", "wdd_phase_deviation",
        "wdd_amplitude_deviation", "ssb_deviation", "ssb_amplitude_deviation", "dpc_iterative_deviation",
    ]  # fmt: skip
    assert {one["name"] for one in kinds if one["afterwards"]} == {
        one["name"] for one in kinds if one["name"].endswith("_deviation")
    } | {"ssb", "ssb_amplitude", "dpc_iterative"}
    assert {one["name"] for one in kinds if one["colour_map"] == "magma"} == {
        "obf", "idpc", "wdd_phase", "ssb", "dpc_iterative",
    }  # fmt: skip
    assert {one["source"] for one in kinds} == {"ptylive"}


def test_every_file_of_a_map_is_found():
    files = {path.stem for path in Path(next(iter(maps.__path__))).glob("*.py")} - {"__init__"}
    makers = [one.make if one.build is None else one.build for one in OWN]
    assert {maker.__module__.rpartition(".")[2] for maker in makers} == files


def test_two_maps_of_one_name_are_a_mistake(monkeypatch):
    monkeypatch.setattr(registry, "declared", lambda _module: [OWN[0]])
    with pytest.raises(ValueError, match="the name bf is already used"):
        list(registry.own_methods())


def test_maps_are_what_their_methods_say(made):
    _, rendering = made
    said = {one.name: one for method in OWN for one in method.maps}
    assert {live_map.name for live_map in rendering.maps} == set(said)
    for one in rendering.maps:
        assert one.units == said[one.name].units, one.name
        method = next(method for method in OWN if one.name in method.outputs)
        for name, setting in method.may_be_set.items():
            if setting.default is not None:
                assert one.settings[name.partition(".")[2]] == setting.default, (one.name, name)


@pytest.mark.parametrize(
    ("method", "value"),
    [(one, value) for one in OWN if one.build is None for value in one.optics],
    ids=lambda one: getattr(one, "name", one),
)
def test_what_a_map_needs_is_named_where_it_lacks(made, method, value):
    engine, _ = made
    known = {name: entry for name, entry in engine.calibration.entries.items() if name != value}
    rendering = render(engine.store, Calibration(known), {}, [method.name])
    assert not rendering.maps
    assert rendering.missing[method.name].startswith(f"{method.title} needs {value}")


@pytest.mark.parametrize("method", [one for one in OWN if one.build is None], ids=lambda one: one.name)
def test_what_a_map_says_it_needs_is_enough(made, method):
    engine, _ = made
    known = {name: engine.calibration.entries[name] for name in method.optics}
    rendering = render(engine.store, Calibration(known), {}, [method.name])
    assert [one.name for one in rendering.maps] == [one.name for one in method.maps if not one.deviation_of]


def test_a_map_cannot_overwrite_what_is_kept_of_the_frames(made, monkeypatch):
    engine, _ = made

    def careless(now):
        now.moments[:] = 0.0
        yield from ()

    method = Method("mine", title="mine", needs=Needs.MOMENTS, maps=(words(),), make=careless)
    monkeypatch.setattr("ptylive.engine.imaging.render.METHODS", ("mine",))
    monkeypatch.setattr(registry, "methods", lambda: {"mine": method})
    with pytest.raises(ValueError, match="read-only"):
        render(engine.store, engine.calibration, {}, ["mine"])
    assert engine.store.moments.any()


def test_the_document_lists_every_map():
    document = DOCUMENT.read_text(encoding="utf-8")
    for row in registry.table().splitlines():
        assert row in document, "run tools/write_tables.py"


def test_live_methods_are_those_that_are_not_made_afterwards(scan):
    live = LiveEngine(scan.header(lies_still=True), methods=[one.name for one in OWN])
    assert set(live.live_methods) == {one.name for one in OWN if not one.afterwards}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"name": "Mine"}, "not a valid map name"),
        ({"name": "a b"}, "not a valid map name"),
        ({"name": 7}, "not a valid map name"),
        ({"name": "coverage"}, "is already used for another image"),
        ({"name": "vd_ring"}, "is already used for another image"),
        ({"maps": ()}, "makes no map"),
        ({"maps": (words(), words())}, "two maps with the same name"),
    ],
)
def test_declarations_that_cannot_be_meant_are_refused(more, said):
    with pytest.raises(ValueError, match=said):
        Method(**{"name": "mine", "title": "mine", "needs": Needs.MOMENTS, "maps": (words(),), **more})


@pytest.mark.parametrize("more", [{"label": ""}, {"shows": ""}, {"trust": "a\nb"}, {"units": 3}])
def test_words_that_no_viewer_can_show_are_refused(more):
    with pytest.raises(ValueError, match="map mine"):
        words(**more)


def test_filters_are_built_by_classes_and_the_rest_is_made_by_functions():
    filters = Method("mine", title="mine", needs=Needs.FILTERS, maps=(words(),))
    assert filters.optics == FILTER_OPTICS
    with pytest.raises(ValueError, match="a class method `build`"):
        live_map(filters)(lambda now: ())
    with pytest.raises(ValueError, match="declare a function"):
        live_map(Method("mine", title="mine", needs=Needs.MOMENTS, maps=(words(),)))(Path)
    assert declared(lambda: None) == declared(3) == []


def test_the_document_lists_every_setting():
    document = DOCUMENT.read_text(encoding="utf-8")
    for row in registry.settings_table().splitlines():
        assert row in document, "run tools/write_tables.py"
