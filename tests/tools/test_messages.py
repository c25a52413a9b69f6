"""The list of messages: read correctly from the sources, current on its page, explained where newcomers meet them."""

import re

import pytest
from told_messages import PAGE, is_on_the_page, on_the_page, read_messages

SOURCES = {
    "schema/errors.py": """
class PtyliveError(Exception): ...
class MetadataError(PtyliveError): ...
""",
    "schema/values.py": """
HINT = "write a number"
def check(value, wanted, log):
    if wanted:
        raise MetadataError(f"{value!r} is {'no' if wanted else 'one'} number", HINT)
    message = f"{value} is too " + "large"
    log.warning("scan %s: %d frames are missing", value, wanted)
    problems = []
    problems.append("the file holds nothing" if wanted else "the file is damaged")
    raise MetadataError(message, hint="take a smaller one")
def named(name, known):
    raise MetadataError(f"no {name}", did_you_mean(name, known, "see the table"))
""",
    "streamer/wire.py": '''
class WireError(MetadataError): ...
def refuse(name):
    """Raises WireError: "this is a docstring and no message"."""
    print("nor is this a message")
    return WireError(f"{name} is cut off", "truncated")
''',
}


@pytest.fixture
def tree(tmp_path):
    for room in read_messages.ROOMS:
        (tmp_path / room).mkdir()
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_messages_are_read_with_their_forms_gaps_and_hints(tree):
    found = {(one.room, one.text): one.hint for one in read_messages.collect(tree)}
    assert found == {
        ("schema", "… is no number"): "write a number",
        ("schema", "… is one number"): "write a number",
        ("schema", "… is too large"): "take a smaller one",
        ("schema", "no …"): "see the table",
        ("schema", "scan …: … frames are missing"): "",
        ("schema", "the file holds nothing"): "",
        ("schema", "the file is damaged"): "",
        ("streamer", "… is cut off"): "",  # a single word after it is a reason for counters
    }


def test_a_pattern_is_its_message_with_the_gaps_filled():
    pattern = read_messages.pattern("… is … (of …)")
    assert pattern.search("x.h5 is (damaged) (of 3)")
    assert not pattern.search("x.h5 was (of 3)")


def test_the_page_has_every_message_of_the_program():
    generated = PAGE.read_text(encoding="utf-8").split("tools/write_tables.py -->\n\n")[1]
    missing = sorted(set(read_messages.table().splitlines()) ^ set(generated.splitlines()))
    assert not missing, f"python tools/write_tables.py: {missing[:5]}"
    assert len(on_the_page()) > 700


def test_what_is_explained_is_said_by_the_program():
    explained = PAGE.read_text(encoding="utf-8").partition("## Every message")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", explained, re.M)
    assert len(rows) > 30
    for message, cause, remedy in rows:
        assert is_on_the_page(message), message
        assert cause.strip(), message
        assert remedy.strip(), message


def test_words_that_nobody_said_are_not_found():
    assert not is_on_the_page("the moon is made of cheese")
