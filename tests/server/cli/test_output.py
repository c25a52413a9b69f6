"""Progress of a command, whose total may become unknown on the way."""

import io
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from ptylive.server.cli.output import Bar, Lines, answer


def test_a_total_of_nothing_is_an_unknown_one() -> None:
    lines = Lines("maps", 60.0)
    lines.update(2240, 2240)
    assert lines._so_far() == "2240 of 2240 (100 %)"
    lines.update(0, 0, "compiling")
    assert lines._so_far() == "working"
    lines.close()
    with Progress(console=Console(file=io.StringIO())) as progress:
        shown = Bar(progress, progress.add_task("maps", total=None))
        shown.update(2240, 2240)
        assert progress.tasks[0].total == 2240
        shown.update(0, 0, "compiling")
        assert progress.tasks[0].total is None


def test_sentences_have_a_line_each_and_words_share_one(capsys) -> None:
    notes = ["one is questioned, two is not: three is unknown", "four"]
    answer({"maps": ["bf", "adf, faint"], "notes": notes, "missing": []}, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "maps: bf, adf, faint",
        "notes: one is questioned, two is not: three is unknown",
        "notes: four",
        "missing: none",
    ]


def test_names_of_files_do_not_act_on_the_terminal(capsys) -> None:
    answer({"file": Path("a\nb\x1b[31m.h5"), "name": "M\udcfcller"}, as_json=False)
    assert capsys.readouterr().out == "file: a\\nb\\x1b[31m.h5\nname: M\\udcfcller\n"


def test_what_is_said_of_each_name_has_a_line_each(capsys) -> None:
    """Regression: in `missing: com the centre of mass needs a, and b, idpc iDPC needs a` nothing ended a reason."""
    reasons = {"com": "needs a, and b", "obf": "needs a"}
    answer({"missing": reasons, "certainty": {"obf": {"deviation": 0.5, "limit_A": 1.0}}}, as_json=False)
    answer({"missing": {}, "counts": {"frames": 3, "lost": 1}}, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "missing: com: needs a, and b",
        "missing: obf: needs a",
        "certainty: obf: deviation 0.5, limit_A 1",
        "missing: none",
        "counts: frames 3, lost 1",
    ]
