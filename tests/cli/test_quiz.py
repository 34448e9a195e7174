"""featvis quiz and featvis evaluate --answers on the command line."""

import json
import subprocess
import sys

import pytest

from featvis.cli import main
from tests.trust.quizzes import answers, write, write_classes, write_photos


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path / "forty", 12, units=4)


def test_a_quiz_is_made_answered_and_evaluated(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = ["quiz", str(folder), "--count", "4", "--seed", "5", "--title", "Beasts", "--text", "Thank you."]
    assert main([*made, "--out", "out"]) == 0
    told = capsys.readouterr()
    assert "12 questions: 4 of naming, 4 of choice, 4 of rating" in told.out
    assert "out/quiz.html: send this round" in told.out
    assert "out/key.json: keep this" in told.out
    page = (tmp_path / "out" / "quiz.html").read_text("utf-8")
    assert "<h1>Beasts</h1>" in page
    key = json.loads((tmp_path / "out" / "key.json").read_text("utf-8"))
    marks = {"ratings": {"photograph": 1, "whole": 2, "harsh": 5}}
    for name in ("ann", "bob"):
        said = answers(
            key,
            name,
            name.title(),
            naming=lambda item: {"free": "a beast", "name": item["right"]},
            choice=lambda item: {"photograph": item["right"]},
            rating=lambda item: marks,
        )
        write(tmp_path / f"{name}.json", said)
    # As a shell writes `--answers *.json`: one option, the others are arguments.
    assert main(["evaluate", "--answers", "ann.json", "bob.json", "out", "--to-mark", "marks.json"]) == 0
    told = capsys.readouterr().out
    assert "2 raters, 2 to the end" in told
    assert "named freely:" in told
    assert "all of them" not in told, "of one folder it is said once"
    assert "0.0% (0.0% to 32.4%), 0 of 8, 8 to be marked" in told
    assert "100.0% (67.6% to 100.0%), 8 of 8" in told
    assert "Borowski et al. 2021 (ICLR, arXiv 2010.12606)" in told
    assert "by pictures 82 ± 4 %, by photographs 92 ± 2 %" in told
    assert "rated 1 to 5, harsh:" in told
    assert "5.00 (5.00 to 5.00), 4 pictures" in told
    assert "0.00 apart in the mean, 4 questions" in told
    assert "4 free names for a person to mark" in told
    marks = json.loads((tmp_path / "marks.json").read_text("utf-8"))
    assert [list(said) for said in marks.values()] == [["beast"]] * 4
    write(tmp_path / "marks.json", {label: {"beast": True} for label in marks})
    typed = [
        "evaluate",
        "out",
        "--answers",
        "ann.json",
        "--answers",
        "bob.json",
        "--accept",
        "marks.json",
        "--json",
    ]
    assert main(typed) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["naming"]["folders"]["forty"]["right"] == 8
    assert told["to_mark"] == {}


def test_the_tasks_are_asked_in_the_order_that_is_typed(folder, tmp_path, capsys):
    typed = ["quiz", str(folder), "--tasks", "rating, naming", "--count", "2", "--out", str(tmp_path / "out")]
    assert main(typed) == 0
    key = json.loads((tmp_path / "out" / "key.json").read_text("utf-8"))
    assert [item["task"] for item in key["items"]] == ["rating", "rating", "naming", "naming"]


def test_what_cannot_be_asked_is_left_out_with_a_line(tmp_path, capsys):
    photos = write_photos(tmp_path / "photos", 3)
    assert main(["quiz", str(photos), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "naming: left out, no picture here is of a class with a name",
        "choice: no photographs to choose from are recorded in photos "
        "(`featvis gallery build CONFIG --examples PHOTOS` records them)",
    ]
    assert "3 questions: 3 of rating" in told.out


BAD = {
    "no folder": (["quiz"], "Missing argument"),
    "a folder that is not there": (["quiz", "none"], "no folder 'none'"),
    "an unknown task": (["quiz", "{photos}", "--tasks", "ratings"], "did you mean 'rating'"),
    "no task": (["quiz", "{photos}", "--tasks", ","], "no task"),
    "no question": (["quiz", "{photos}", "--count", "0"], "--count is at least 1"),
    "out is a file": (["quiz", "{photos}", "--out", "{photos}/snap-00.jpg"], "is a file, not a folder"),
    "nothing to ask": (["quiz", "{photos}", "--tasks", "naming"], "nothing to ask"),
    "evaluate nothing": (["evaluate"], "--answers FILE"),
    "evaluate two folders": (["evaluate", "{photos}", "{photos}"], "name one folder"),
    "marks without answers": (["evaluate", "{photos}", "--accept", "x.json"], "--answers"),
    "no answers there": (["evaluate", "--answers", "none.json", "--key", "{key}"], "no file 'none.json'"),
    "answers without a key": (["evaluate", "--answers", "{answers}"], "no key"),
    "a folder without a key": (["evaluate", "{photos}", "--answers", "{answers}"], "holds no key.json"),
    "answers that are cut off": (["evaluate", "--answers", "{cut}", "--key", "{key}"], "no whole JSON"),
    "no marks there": (
        ["evaluate", "--answers", "{answers}", "--key", "{key}", "--accept", "no"],
        "names to accept",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line_and_exit_code_2(name, tmp_path, capsys, monkeypatch):
    typed, says = BAD[name]
    monkeypatch.chdir(tmp_path)
    photos = write_photos(tmp_path / "photos", 2)
    assert main(["quiz", str(photos), "--out", "made", "--tasks", "rating"]) == 0
    key = json.loads((tmp_path / "made" / "key.json").read_text("utf-8"))
    said = answers(key, "a", rating=lambda item: {"ratings": {"photograph": 1, "whole": 2, "harsh": 5}})
    places = {"photos": photos, "key": "made/key.json", "answers": "ann.json", "cut": "cut.json"}
    write(tmp_path / "ann.json", said)
    (tmp_path / "cut.json").write_text(json.dumps(said)[:-20])
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert main([word.format(**places) for word in typed]) == 2
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if line.startswith("featvis: ")]
    assert len(lines) == 1
    assert says in lines[0]
    assert told.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_neither_the_quiz_nor_its_evaluation_loads_torch(folder, tmp_path):
    program = (
        "import json, sys; from featvis.cli import main;"
        "out = sys.argv[2]; assert main(['quiz', sys.argv[1], '--out', out, '--count', '3']) == 0;"
        "key = json.load(open(out + '/key.json'));"
        "told = {'kind': 'featvis quiz answers', 'version': 1, 'quiz': key['quiz']};"
        "told |= {'rater': '', 'session': 'a', 'answers': [{'item': 1, 'free': 'x', 'name': 0}]};"
        "json.dump(told, open(out + '/a.json', 'w'));"
        "assert main(['evaluate', out, '--answers', out + '/a.json']) == 0;"
        "assert 'torch' not in sys.modules"
    )
    typed = [sys.executable, "-c", program, str(folder), str(tmp_path / "out")]
    done = subprocess.run(typed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
