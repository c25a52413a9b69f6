"""Messages listed in docs/troubleshooting.md, to check that a message seen in a test is among them."""

import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
sys.path.insert(0, str(ROOT / "tools"))

import messages as read_messages  # noqa: E402

LINE = re.compile(r"^- (`+) ?(.+?) ?\1(?:: (`+) ?(.+?) ?\3)?$")
LEAST_LETTERS = 8
"""Fewest letters of a message that is compared: one that is nearly all gaps matches everything."""


@cache
def on_the_page() -> list[tuple[str, str]]:
    """Messages of the generated list, and their advice."""
    explained, _, generated = PAGE.read_text(encoding="utf-8").partition("## Every message")
    found = [LINE.match(line) for line in generated.splitlines() if line.startswith("- ")]
    of_libraries = re.findall(r"^- `(.+?)`: ", explained, re.M)
    return [*((one[2], one[4] or "") for one in found if one), *((text, "") for text in of_libraries)]


@cache
def told() -> list[list[str]]:
    """Text between the gaps of each line."""
    lines = [text if letters(text) >= LEAST_LETTERS else f"{text}: {hint}" for text, hint in on_the_page()]
    return [line.split(read_messages.GAP) for line in lines if letters(line) >= LEAST_LETTERS]


def letters(text: str) -> int:
    """Number of letters outside gaps."""
    return len(re.sub(r"[\W_]", "", text))


def is_on_the_page(said: str) -> bool:
    """Whether a line of the program, followed by its advice, is one of the page's with its gaps filled."""
    return any(in_order(parts, said) for parts in told())


def in_order(parts: list[str], said: str) -> bool:
    """Whether parts occur in a text one after the other: equivalent to their pattern, without trying every start."""
    at = 0
    for part in parts:
        found = said.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True
