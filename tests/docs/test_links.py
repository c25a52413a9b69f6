"""Links of the documents: pages, headings, order of the site, distance of newcomers' questions from the start."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from first_questions import ANSWERS, holds

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
]
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.M | re.S)
QUESTIONS = {
    "Which way is up?": ("first row of the scan", "detector_transform"),
    "What is tcBF?": ("every pixel of the bright-field disc", "defocus"),
    "Why is my map black?": ("no frames", "rejected", "contrast"),
    "How do I send frames?": ("LiveScan", "live.send"),
    "How do I add a loss?": ("data_term", "algorithm"),
}
"""Questions of newcomers, and words that the answer contains."""


@cache
def text(path):
    return FENCED.sub("", path.read_text(encoding="utf-8"))


@cache
def anchors(path):
    """Anchors of a page's headings."""
    return anchors_of(text(path))


def anchors_of(markdown):
    """Anchors of headings, as the forge and the site make them."""
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?) *$", markdown, re.M):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.append(name if name not in found else f"{name}-{found.count(name)}")
    return found


def links(path):
    """Target files and headings of a page's links within the repository."""
    for words, target in LINK.findall(text(path)):
        if "://" not in target and not target.startswith("mailto:"):
            name, _, heading = target.partition("#")
            yield words, (path.parent / name).resolve() if name else path, heading


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_page_and_a_heading(path):
    wrong = []
    for words, target, heading in links(path):
        if not target.is_file() or (heading and heading not in anchors(target)):
            wrong.append((words, target.name, heading))
    assert not wrong


def test_every_page_has_its_place_in_the_site():
    def named(entries):
        for entry in entries:
            yield from (entry[key] for key in ("file", "glob") if key in entry)
            yield from named(entry.get("entries", ()))

    toc = yaml.safe_load((DOCS / "_toc.yml").read_text(encoding="utf-8"))
    given = [toc["root"], *(name for part in toc["subtrees"] for name in named(part["entries"]))]
    placed = {path for name in given for path in ROOT.glob(f"{name}.md")}
    assert placed == set(PAGES) - {ROOT / "README.md"}


def test_the_first_questions_are_answered_within_two_clicks():
    asked = [line for line in text(DOCS / "index.md").splitlines() if line.startswith("|")]
    for question, words in QUESTIONS.items():
        (row,) = [line for line in asked if question in line or question.replace("?", ".") in line]
        (near,) = [(DOCS / target.partition("#")[0]) for _, target in LINK.findall(row)]
        within_two = [near, *(target for _, target, _ in links(near) if target.suffix == ".md")]
        answers = [
            page
            for page in within_two
            if all(word.lower() in page.read_text(encoding="utf-8").lower() for word in words)
        ]
        assert answers, question


@pytest.mark.parametrize("question", ANSWERS)
def test_a_first_question_is_answered_where_the_start_page_leads(question):
    (row,) = [line for line in text(DOCS / "index.md").splitlines() if line.startswith("|") and question in line]
    name, _, heading = LINK.search(row)[2].partition("#")
    page = (DOCS / name).read_text(encoding="utf-8")
    if heading:
        sections = re.split(r"^(?=## )", page, flags=re.M)[1:]
        (page,) = [one for one in sections if heading in anchors_of(one)]
    assert holds(page, ANSWERS[question])


def test_start_and_how_to_are_short_sentences():
    """At most 30 words each, since these pages are read with a microscope running."""
    folders = ("start", "how-to", "explanation", "tutorials", "coming-from")
    pages = [page for folder in folders for page in (DOCS / folder).glob("*.md")]
    long = []
    for path in pages:
        prose = re.sub(r"^( *[-*|]|#|<!--|!\[).*$", "", text(path), flags=re.M)
        prose = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", prose)
        prose = re.sub(r"`[^`]*`", "code", prose)
        for sentence in re.split(r"(?<=[.?!:])\s+|\n\n", prose):
            if len(sentence.split()) > 30:
                long.append((path.name, " ".join(sentence.split())))
    assert not long
