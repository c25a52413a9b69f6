"""Requests of a page: the browser is not trusted."""

import json
import logging

import pytest

from ptylive.dashboard.requests import (
    MAX_REQUEST_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    RequestDispatcher,
    as_plain,
    decimal_point,
    parse_request,
)


def test_a_request_has_its_fields():
    request = parse_request(json.dumps({"what": "key", "key": "t", "panel": 3, "unknown": 1}))
    assert (request.what, request.key, request.panel, request.value, request.numbers) == ("key", "t", 3, "", [])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "text",
        "[]",
        "1",
        json.dumps({}),
        json.dumps({"what": "sing"}),
        json.dumps({"what": "key", "key": 21 * "k"}),
        json.dumps({"what": "key", "panel": 13}),
        json.dumps({"what": "key", "panel": -1}),
        json.dumps({"what": "set", "name": 256 * "n"}),
        json.dumps({"what": "set", "value": (MAX_VALUE_CHARACTERS + 1) * "v"}),
        json.dumps({"what": "set", "numbers": 9 * [1.0]}),
        '{"what": "set", "numbers": [NaN]}',
        '{"what": "set", "numbers": [1e999]}',
        100_000 * "[",
        json.dumps({"what": "set", "more": MAX_REQUEST_CHARACTERS * "m"}),
    ],
    ids=range(16),
)
def test_what_is_not_understood_is_dropped(content):
    assert parse_request(content) is None


def test_each_goes_to_the_handler_of_its_kind(caplog):
    taken = []
    dispatcher = RequestDispatcher({"key": taken.append, "set": taken.append}, lambda request: request.what != "set")
    for what in ("key", "set", "undo"):
        dispatcher.take(json.dumps({"what": what}))
    with caplog.at_level(logging.WARNING):
        dispatcher.take("nonsense")
    assert [request.what for request in taken] == ["key"], "one is not allowed, the other has no handler"
    assert "could not be read" in caplog.text


def test_a_kind_without_a_handler_is_told(caplog):
    RequestDispatcher({}).take(json.dumps({"what": "undo"}))
    assert "'undo' are not handled" in caplog.text


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("12,5 nm", "12.5 nm"),
        ("12.5 nm", "12.5 nm"),
        ("300,000", "300,000"),
        ("1,5 3,25", "1.5 3.25"),
        ("1,5 300,000", "1,5 300,000"),
    ],
)
def test_a_decimal_comma_is_a_point_unless_it_may_be_a_thousand(typed, read):
    assert decimal_point(typed) == read


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        (" 12 ", 12.0),
        ("−3", -3.0),
        ("1, 2; 3", [1.0, 2.0, 3.0]),
        ("1,,2", [1.0, 2.0]),
        ("80 keV", "80 keV"),
        ("auto", "auto"),
        ("", ""),
        (",", ","),
    ],
)
def test_typed_text_is_a_number_a_list_or_itself(typed, plain):
    assert as_plain(typed) == plain
