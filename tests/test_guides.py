"""The guides: code runs, commands, configs, links and answers are real; the reference is whole."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from typer.main import get_command

import featvis
from featvis.cli.app import make_app
from featvis.engine.lanes import Lanes
from featvis.galleries.config import load_gallery
from tests.documents import DOCUMENTS, EXAMPLES, GUIDES, PAGES, REPOSITORY, blocks, commands, links, text_of

COMMANDS = sorted({line for path in [*DOCUMENTS, *EXAMPLES] for line in commands(path)})
PROGRAMS = [path for path in PAGES if blocks(path, "python") and path.stem not in ("loggers", "contributing")]
VGG16 = "--model torchvision:vgg16 --weights vgg16_features.safetensors"


BUILT = REPOSITORY / "build" / "docs"


def has_run(page):
    """Whether `make docs`, which ends where code fails, has run a notebook as it and featvis are now."""
    built = BUILT / f"{page.stem}.html"
    if page.suffix != ".ipynb" or not built.is_file():
        return False
    read = [page, *Path(featvis.__file__).parent.rglob("*.py")]
    return all(path.stat().st_mtime < built.stat().st_mtime for path in read)


@pytest.mark.slow
@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.stem)
def test_the_python_of_a_guide_runs(page, tmp_path, monkeypatch):
    if has_run(page):
        pytest.skip("make docs has run this notebook")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(page, "python"):
        if not block.startswith("# net.py"):  # a file of the reader's
            exec(compile(block, str(page), "exec"), names)
    pictures = [one for one in names.values() if isinstance(one, featvis.Picture)]
    assert all(picture.status == "ok" for picture in pictures)


@pytest.mark.slow
def test_a_run_is_logged_into_tensorboard(tmp_path, monkeypatch):
    pytest.importorskip("torch.utils.tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    exec(blocks(GUIDES / "loggers.md", "python")[0], {})
    written = EventAccumulator("runs/volcano").Reload()
    scores = [event.value for event in written.Scalars("score")]
    assert len(scores) == 48
    assert scores[-1] > scores[0] + 10
    assert [event.step for event in written.Images("pictures")] == [0, 16, 32]


@pytest.mark.slow
def test_a_run_is_logged_into_weights_and_biases(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.chdir(tmp_path)
    exec(blocks(GUIDES / "loggers.md", "python")[1], {})
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    assert list(folder.glob("run-*.wandb"))
    assert len(list(folder.glob("files/media/images/*.png"))) == 4


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_that_is_shown_takes_these_options(line):
    _, *words = shlex.split(line.replace("$V", VGG16), comments=True)
    command = get_command(make_app())
    if words == ["--install-completion"]:
        return
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"no command {words[0]}"
        command = command.commands[words.pop(0)]
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    assert {word for word in words if re.match("--?[a-z]", word)} <= known
    command.make_context("featvis", list(words))  # arguments missing or too many, values of a wrong type


def test_the_configs_that_are_shown_load(tmp_path):
    texts = [text for path in DOCUMENTS for text in blocks(path, "toml")]
    assert texts
    for text in texts:
        (tmp_path / "shown.toml").write_text(text, "utf-8")
        assert len(load_gallery(tmp_path / "shown.toml").sections) == 1


def test_the_loop_that_is_shown_is_the_code():
    (shown,) = re.findall(r"<!-- the loop -->\n```\n(.*?)```", text_of(GUIDES / "how-it-works.md"), re.DOTALL)
    source = inspect.getsource(Lanes.climb)
    assert shown == textwrap.dedent(source[source.rindex('"""') + 4 :])


@pytest.mark.parametrize("path", [*DOCUMENTS, *EXAMPLES], ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_file_that_is_linked_is_there(path):
    made = {f"generated/{name}" for name in ("parts.md", "command-line.md")}
    assert [name for name in links(path) if name not in made and not (path.parent / name).exists()] == []


def test_every_picture_of_the_examples_is_shown():
    folder = REPOSITORY / "gallery" / "examples"
    shown = {(path.parent / name).resolve() for path in EXAMPLES for name in links(path)}
    assert set(folder.rglob("*.webp")) <= shown


def test_every_page_is_in_the_table_of_contents():
    entries = set(
        "\n".join(
            re.findall(r"^```\{toctree\}\n(.*?)^```", text_of(GUIDES / "index.md"), re.M | re.S)
        ).split()
    )
    assert {page.stem for page in PAGES if page.stem != "index"} <= entries


@pytest.fixture(scope="module")
def generated():
    sys.path.insert(0, str(GUIDES))
    try:
        return importlib.import_module("reference").pages()
    finally:
        sys.path.remove(str(GUIDES))


def test_every_public_name_is_in_the_reference_once(generated):
    found = [
        name
        for page in generated.values()
        for name in re.findall(r"^\.\. auto\w+:: featvis\.(\w+)", page, re.M)
    ]
    assert sorted([*found, "__version__"]) == sorted(featvis.__all__)


def test_every_command_is_in_the_reference_with_its_options(generated):
    page = generated["command-line.md"]
    root = get_command(make_app())
    named = {name for name, command in root.commands.items() if not hasattr(command, "commands")}
    inner = {
        f"{group} {name}" for group, one in root.commands.items() for name in getattr(one, "commands", ())
    }
    assert set(re.findall(r"^## `featvis (.*)`$", page, re.M)) == named | inner
    for option in ("--recipe", "--set", "--out", "--weights", "--judge", "--near"):
        assert option in page


QUESTIONS = {
    "use my checkpoint": r"--weights (best|FILE)",
    "where are the pictures": r"gallery/MODEL",
    "what is a lane": r"place in",
    "how long does it take": r"--dry-run",
    "which recipe": r"the layer (does|chooses)",
    "can I trust the picture": r"featvis evaluate",
    "go on after a kill": r"same command again",
    "write my own objective": r"@fv\.objective\(layers=",
    "how do I use the GPU": r"--device cuda:1",
    "how do I cite": r"@software\{featvis",
}
"""What a newcomer types into the search, and what the page that comes first must say."""


def ranked(question, pages):
    """Pages that hold all words of a question, those with most of them in headings and terms first."""
    words = re.findall(r"[a-z-]+", question.lower())
    found = []
    for name, text in pages.items():
        low = text.lower()
        if all(re.search(rf"\b{word}", low) for word in words):
            heads = " ".join(re.findall(r"^(?:#+ .*|\S.*\?)$", low, re.M))
            found.append((sum(bool(re.search(rf"\b{word}", heads)) for word in words), name))
    return [name for _, name in sorted(found, reverse=True)]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_on_the_first_page_that_is_found(question):
    pages = {page.stem: text_of(page) for page in PAGES}
    first, *_ = ranked(question, pages)
    assert re.search(QUESTIONS[question], pages[first]), first


built = pytest.mark.skipif(not (BUILT / "index.html").is_file(), reason="no build/docs: run make docs first")


@built
@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_search_of_the_built_site_finds_the_answer(question):
    """As the page's script does it: documents that hold every word, by its stem or a part of a longer one."""
    language = pytest.importorskip("sphinx.search.en").SearchEnglish({})
    script = (BUILT / "searchindex.js").read_text("utf-8")
    index = json.loads(script[script.index("{") : script.rindex("}") + 1])
    words = [word for word in re.findall(r"[a-z]+", question.lower()) if word not in language.stopwords]
    hits = []
    for stem in map(language.stem, words):
        lists = [*index["terms"].items(), *index["titleterms"].items()]
        hits.append({page for term, pages in lists if stem in term for page in as_list(pages)})
    names = {Path(index["docnames"][page]).name for page in set.intersection(*hits)}
    texts = [text_of(path) for path in PAGES if path.stem in names]
    assert any(re.search(QUESTIONS[question], text) for text in texts), names


def as_list(pages):
    return [] if pages is None else pages if isinstance(pages, list) else [pages]


@built
@pytest.mark.slow
def test_the_built_site_fetches_nothing_and_its_links_lead_somewhere():
    broken = []
    for page in BUILT.rglob("*.html"):
        text = page.read_text("utf-8")
        assert not re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"(?:https?:)?//[^\"]*", text), page
        assert not re.findall(r"<link[^>]*rel=\"stylesheet\"[^>]*href=\"(?:https?:)?//[^\"]*", text), page
        for name in re.findall(r"(?:href|src)=\"([^\"#?]+)[^\"]*\"", text):
            if not urlsplit(name).scheme and not (page.parent / unquote(name)).exists():
                broken.append(f"{page.name}: {name}")
    assert broken == []


@pytest.mark.slow
def test_the_part_that_contributing_shows_is_found_and_used(tmp_path):
    (code,) = blocks(REPOSITORY / "CONTRIBUTING.md", "python")
    place = tmp_path / "mine" / "transforms" / "vignette.py"
    place.parent.mkdir(parents=True)
    place.write_text(code, "utf-8")
    told = []
    for line in commands(REPOSITORY / "CONTRIBUTING.md"):
        _, *words = shlex.split(line, comments=True)
        quick = ["--size", "32", "--steps", "2", "--out", "out"] if words[0] == "render" else []
        ran = subprocess.run(
            [sys.executable, "-m", "featvis", *words, *quick],
            cwd=tmp_path,
            env={**os.environ, "FEATVIS_PLUGINS": "mine", "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=True,
        )
        told.append(ran.stdout)
    assert "vignette" in told[0]
    assert "strength" in told[0]
    picture = featvis.load_picture(tmp_path / "out" / "blocks.3" / "0000.png")
    assert [one["name"] for one in picture.recipe["transforms"]] == ["vignette"]


def test_the_forms_for_issues_can_be_read():
    yaml = pytest.importorskip("yaml")
    forms = sorted(Path(REPOSITORY, ".github", "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 4
    for form in forms:
        told = yaml.safe_load(form.read_text("utf-8"))
        if form.stem != "config":
            assert {"name", "description", "body"} <= told.keys()
            assert all(one["attributes"]["label"] for one in told["body"])
