"""Replies about work with many jobs."""

import logging

import pytest

from ptylive.dashboard.client.series import BatchReply, TuneReply, VariedValue, understood


def test_missing_fields_have_neutral_values():
    reply = understood(TuneReply, {"state": "running", "values": [{"name": "defocus_A"}], "newer": 1})
    assert (reply.state, reply.trials, reply.wanted) == ("running", [], 0)
    assert reply.values[0].label == "defocus_A"


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ({"name": "a"}, "a"),
        ({"name": "a", "title": "defocus"}, "defocus"),
        ({"name": "a", "title": "defocus", "unit": "Å"}, "defocus / Å"),
        ({"name": "a", "unit": "Å"}, "a / Å"),
    ],
)
def test_a_label_has_the_unit(value, label):
    assert VariedValue.model_validate(value).label == label


def test_a_reply_that_cannot_be_read_is_empty(caplog):
    with caplog.at_level(logging.WARNING):
        reply = understood(BatchReply, {"state": "running", "rows": [{"state": "done"}]})
    assert reply == BatchReply()
    assert "a reply could not be read" in caplog.text
