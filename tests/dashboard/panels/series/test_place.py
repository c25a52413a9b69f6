"""Where jobs run: what the server offers, and nothing else."""

from ptylive.dashboard.client.state import Place, ServerState
from ptylive.dashboard.panels.series.place import PlaceChoice
from ptylive.dashboard.requests import Request

BOTH = [Place(name="cluster", words="cluster tcp://there:8786"), Place(name="here", words="this machine")]


def choice(places):
    one = PlaceChoice()
    one.follow(ServerState(places=places))
    return one


def test_without_a_choice_commands_say_nothing_of_it():
    assert choice([]).arguments() == choice(BOTH[1:]).arguments() == {}
    assert choice(BOTH[1:]).marks() == {"places": "one"}


def test_the_first_is_taken_until_another_is_chosen():
    one = choice(BOTH)
    assert (one.arguments(), one.marks()) == ({"place": "cluster"}, {"places": "many"})
    one.choose(Request(what="place", value="moon"))
    assert one.lists()["places"]["chosen"] == "cluster"
    one.choose(Request(what="place", value="here"))
    assert one.arguments() == {"place": "here"}
    one.follow(ServerState(places=[BOTH[0], Place(name="other")]))
    assert one.arguments() == {"place": "cluster"}, "a place that is gone is taken back"
