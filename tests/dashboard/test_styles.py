"""The page's style sheets: no look is written down twice."""

import re
from itertools import combinations

from ptylive.dashboard.skeleton import FOLDER

ALIKE = 6
"""Number of equal declarations from which two rules are one look that belongs in a common rule."""
RULE = re.compile(r"([^{};]+)\{([^{}]*)\}")
WIDGETS = "widgets.css"
"""The sheet inside Bokeh's widgets, which the page's rules do not reach."""


def test_no_two_rules_of_a_sheet_declare_the_same_look() -> None:
    """Regression: buttons and fields repeated colours, frame and font, on the page and inside Bokeh's widgets."""
    sheets = sorted((FOLDER / "styles").glob("*.css"))
    found = [(sheet.name, *rule) for sheet in sheets for rule in rules(sheet.read_text(encoding="utf-8"))]
    assert len(found) > 200
    twice = [
        (one[:2], other[:2])
        for one, other in combinations(found, 2)
        if (one[0] == WIDGETS) == (other[0] == WIDGETS) and len(one[2] & other[2]) >= ALIKE
    ]
    assert twice == []


def rules(text: str) -> list[tuple[str, frozenset[str]]]:
    """Selector and declarations of each rule, also of those for certain windows."""
    plain = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return [
        (" ".join(selector.split()), frozenset(" ".join(one.split()) for one in block.split(";") if one.strip()))
        for selector, block in RULE.findall(plain)
    ]
