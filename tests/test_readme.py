"""The README's Python blocks run, in order, as one program, in an empty folder."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_readme_runs(tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 3
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert (tmp_path / "unit.png").is_file()
    assert names["again"].png() == names["pictures"][0].png()


def test_every_file_that_the_readme_shows_is_there():
    shown = re.findall(r"\]\(([^)#:]+)\)", README.read_text("utf-8"))
    assert shown
    assert [name for name in shown if not (README.parent / name).exists()] == []
