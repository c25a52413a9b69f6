"""Schedules: results of the grammar, and what it refuses."""

import math

import pytest

from ptylive.schema import MetadataError
from ptylive.schema.schedule import Schedule


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.5", (0.5, 0.5, 0.5)),
        ("epoch", (0, 1, 12)),
        ("lambda x: x % 10 == 0", (1, 0, 0)),
        ("lambda x: x % 10 == 0;", (1, 0, 0)),
        ("lambda n: 1e-3 if n > 5 else 0", (0, 0, 1e-3)),
        ("0 < epoch <= 1 or epoch == 12", (0, 1, 1)),
        ("not epoch", (1, 0, 0)),
        ("max(1, min(epoch, 10)) * -2", (-2, -2, -20)),
        ("exp(-epoch / 10)", (1, math.exp(-0.1), math.exp(-1.2))),
        ("1 if epoch == 0 else log(epoch) + sqrt(abs(-4))", (1, 2, math.log(12) + 2)),
        ("inf if epoch >= 12 else 10", (10, 10, math.inf)),
        ("epoch // 5 ** 2 + True", (1, 1, 1)),
    ],
)
def test_schedules_have_their_values_at_each_epoch(text, values):
    schedule = Schedule.parse(text)
    assert [schedule.at(epoch) for epoch in (0, 1, 12)] == pytest.approx(values)
    assert Schedule.parse(schedule.text) == schedule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lambda: 1",
        "lambda x, y: x",
        "lambda x=1: x",
        "lambda *x: 1",
        "x + 1",
        "__import__('os').system('true')",
        "(1).__class__",
        "[1, 2][0]",
        "'a' * 3",
        "open('f')",
        "exp(1, 2)",
        "min(1)",
        "max(*[1, 2])",
        "min(1, 2, key=abs)",
        "1j",
        "lambda x: (y := x)",
        "epoch @ 2",
        "1 if epoch in (1, 2) else 0",
        "1e400",
        "-" * 200 + "1",
        "1 +" * 300 + "1",
        "(" * 100 + "1" + ")" * 100 + " +",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(MetadataError, match="schedule"):
        Schedule.parse(text)


@pytest.mark.parametrize("text", ["1 / epoch", "log(epoch)", "9 ** 9 ** 9", "(-1) ** 0.5", "inf - inf", "exp(1000)"])
def test_no_value_is_said_with_the_epoch(text):
    with pytest.raises(MetadataError, match="epoch 0"):
        Schedule.parse(text).at(0)


def test_a_schedule_without_its_variable_is_constant():
    assert Schedule.parse("2 * 3").constant
    assert not Schedule.parse("lambda t: 0 * t").constant
