"""The README: short, true, and its code runs."""

from __future__ import annotations

import re

import pytest

import featvis
from tests.documents import REPOSITORY, blocks, text_of

README = REPOSITORY / "README.md"


def test_it_is_short():
    assert len(README.read_bytes()) <= 9_000


def test_a_picture_and_a_command_come_first():
    top = text_of(README).splitlines()[:25]
    assert [line for line in top if line.startswith("![")]
    assert [line for line in top if line.startswith("featvis ")]


def test_photographs_are_the_first_line_of_its_table_and_the_judges_family_is_told():
    rows = re.findall(r"^\| (?!-)(.*) \|", text_of(README)[text_of(README).index("| 224 pixels") :], re.M)
    assert "photographs" in rows[1]
    assert "of the family of the climbed network" in rows[0]


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(README, "python"):
        exec(compile(block, str(README), "exec"), names)
    assert [picture.label.partition(",")[0] for picture in names["pictures"][3:]] == ["volcano", "ladybug"]
    assert all(picture.score > 15 for picture in names["pictures"])
    assert (tmp_path / "first.png").is_file()
    assert len(list((tmp_path / "mine" / "layer2").glob("000*.png"))) == 4


def test_every_citation_names_this_version():
    yaml = pytest.importorskip("yaml")
    cff = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert cff["version"] == cff["preferred-citation"]["version"] == featvis.__version__
    entries = [
        text_of(path)
        for path in (README, REPOSITORY / "gallery/guides/questions.md")
        if "@software{featvis" in text_of(path)
    ]
    assert len(entries) == 2
    for text in entries:
        assert f"version = {{{featvis.__version__}}}" in text
        assert f"title = {{{cff['title']}}}" in text
