"""Keys of the page and their list."""

from types import SimpleNamespace

import pytest

from ptylive.dashboard.keys import KEYS, SHOWN, WORDS, MapKeys


class Switch:
    def __init__(self, active):
        self.active = active

    def update(self, *, active):
        self.active = active


class Panel:
    """A map panel, as far as keys act on it."""

    def __init__(self):
        self.fft, self.lock, self.chosen, self.colours = Switch(False), Switch(True), None, 0

    def choose(self, number):
        self.chosen = number


@pytest.fixture
def panels(monkeypatch):
    from ptylive.dashboard.panels.maps import MapPanel

    monkeypatch.setattr(MapPanel, "next_colours", lambda panel: setattr(panel, "colours", panel.colours + 1))
    return [Panel(), Panel()]


@pytest.fixture
def press(panels):
    return MapKeys(SimpleNamespace(panels=panels)).press


def test_keys_act_on_the_panel_with_the_focus(panels, press):
    first, second = panels
    assert press("t", 1) and (first.fft.active, second.fft.active) == (False, True)
    assert press("t", 1) and not second.fft.active
    assert press("l", 0) and not first.lock.active
    assert press("l", 0) and first.lock.active
    assert press("a", 0) and press("a", 0) and not first.lock.active, "contrast that follows stays so"
    assert press("3", 1) and (first.chosen, second.chosen) == (None, 3)
    assert press("c", 0) and (first.colours, second.colours) == (1, 0)


@pytest.mark.parametrize(("key", "index"), [("x", 0), ("", 0), ("t", 2), ("t", -1)])
def test_others_have_no_meaning_here(panels, press, key, index):
    assert not press(key, index)
    assert not any(panel.fft.active for panel in panels)


def test_every_key_and_word_is_listed_once_with_its_meaning():
    for names in ([key.name for key in KEYS], [name for name, _ in SHOWN], [word for word, _ in WORDS]):
        assert len(set(names)) == len(names)
    assert all(key.name and key.meaning for key in KEYS)
