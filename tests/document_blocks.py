"""Code blocks of the documents, and how each is to be treated, for tests that run them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "decisions" not in path.parts),
]
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")
FENCE = re.compile(r"^```(\S*)(?: .*)?$")


@dataclass(frozen=True)
class Block:
    """A code block: its location, its language ("" for the shell), and why it is not run ("" if it is)."""

    path: Path
    line: int
    language: str
    text: str
    not_run: str

    @property
    def place(self) -> str:
        """Location as test messages name it."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Lines of a shell block, with continued lines joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if line.strip()] if self.language == "" else []


def blocks(path: Path) -> list[Block]:
    """Fenced blocks, and blocks indented by four."""
    lines = path.read_text(encoding="utf-8").split("\n")
    found: list[Block] = []
    at = 0
    while at < len(lines):
        fence = FENCE.match(lines[at])
        end = at + 1
        if fence:
            while lines[end] != "```":
                end += 1
            found.append(Block(path, at + 1, fence[1], "\n".join(lines[at + 1 : end]), _reason(lines, at)))
            end += 1
        elif lines[at].startswith("    ") and not lines[at - 1].strip() and not _in_a_list(lines, at):
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            text = "\n".join(line[4:] for line in lines[at:end]).rstrip()
            found.append(Block(path, at + 1, "", text, _reason(lines, at)))
        at = end
    return found


def _in_a_list(lines: list[str], at: int) -> bool:
    before = next((line for line in reversed(lines[:at]) if line.strip() and not line.startswith("    ")), "")
    return bool(re.match(r"\s*([-*]|\d+\.) ", before))


def _reason(lines: list[str], at: int) -> str:
    """Text of the comment above a block, which may be separated from it by an empty line."""
    above = [line for line in lines[max(0, at - 2) : at] if line.strip()]
    marked = NOT_RUN.fullmatch(above[-1].strip()) if above else None
    return marked[1] if marked else ""
