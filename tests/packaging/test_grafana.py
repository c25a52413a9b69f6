"""The Grafana dashboard: every metric that it names exists, and every existing metric is on it."""

import json
import re
from itertools import combinations
from pathlib import Path

from ptylive.server.serve.metrics import FrameTotals, render
from ptylive.streamer.events import StreamStatus

DASHBOARD = json.loads((Path(__file__).resolve().parents[2] / "packaging/grafana/ptylive.json").read_text("utf-8"))
METRIC = re.compile(r"ptylive_[a-z_]+")
LABEL = re.compile(r"\{\{(\w+)\}\}")


def told():
    """Metrics by name, with their label."""
    text = render(StreamStatus(state="scanning", rejected={"late": 1}), FrameTotals().with_current(StreamStatus()), {})
    samples = re.findall(r"^(ptylive_[a-z_]+)(?:\{(\w+)=)?", text, re.M)
    return dict(samples)


def targets():
    return [target for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_metrics_are_those_of_the_server():
    named = {name for target in targets() for name in METRIC.findall(target["expr"])}
    assert named == set(told())
    (server,) = [one for one in DASHBOARD["templating"]["list"] if one["name"] == "instance"]
    assert set(METRIC.findall(server["query"]["query"])) <= set(told())


def test_legends_name_labels_that_their_metric_has():
    for target in targets():
        (label,) = LABEL.findall(target["legendFormat"]) or [""]
        if label:
            assert {told()[name] for name in METRIC.findall(target["expr"])} == {label}


def test_counters_are_shown_as_rates():
    for target in targets():
        for counter in re.findall(r"(\w+\()?(ptylive_\w+_total)", target["expr"]):
            assert counter[0] in ("rate(", "increase("), target["expr"]


def test_panels_lie_beside_each_other():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
        assert one["x"] + one["w"] <= 24
