"""What a viewer does with refinements: how often pictures are kept, and the film of the run being shown."""

from unittest.mock import MagicMock

import pytest

from ptylive.dashboard.actions import RefineActions
from ptylive.dashboard.panels.series.place import PlaceChoice
from ptylive.dashboard.requests import Request


@pytest.fixture
def orders():
    return MagicMock()


@pytest.fixture
def actions(orders):
    stored = MagicMock(return_value="")
    made = RefineActions(orders, PlaceChoice(), lambda: False, MagicMock(), stored, MagicMock())
    made.stored = stored
    return made


def every(text):
    return Request(what="film", key="every", value=text)


def test_pictures_are_kept_as_often_as_was_typed(actions, orders):
    actions.refine({"epoch_max": 3})
    assert "history" not in orders.send.call_args.kwargs
    actions.film(every(" 2 "))
    actions.refine({"epoch_max": 3})
    assert orders.send.call_args.kwargs == {"preset": {"epoch_max": 3}, "history": 2}
    assert orders.say.call_args.args[0] == "later runs keep a picture every 2 epochs for their film"
    actions.film(every(""))
    assert actions.every == 0


@pytest.mark.parametrize("typed", ["two", "1.5", "-1", "1e9", "1, 2", "nan", "inf"])
def test_what_is_no_number_of_epochs_is_said_and_changes_nothing(actions, orders, typed):
    actions.film(every("3"))
    actions.film(every(typed))
    assert actions.every == 3
    assert "number of epochs between" in orders.say.call_args.args[0]


def test_the_film_is_that_of_the_run_that_is_shown(actions, orders):
    show = Request(what="film", key="show")
    actions.takers()["film"](show)
    assert orders.send.call_args.args[0] == "film" and "run" not in orders.send.call_args.kwargs
    actions.stored.return_value = "run2"
    actions.takers()["film"](show)
    assert orders.send.call_args.kwargs == {"run": "run2"}
