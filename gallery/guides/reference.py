"""Pages that are made from the code: every public name by family, every part, every command."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

import featvis
from featvis.cli.app import make_app
from featvis.spec.catalog import markdown, public_names

FAMILIES = {
    "models": "Networks",
    "run": "Rendering",
    "spec": "Requests: targets, recipes, parts",
    "results": "Pictures",
    "objectives": "Objectives and penalties",
    "images": "Image spaces",
    "transforms": "Transforms",
    "engine": "The loop",
    "photographs": "Photographs",
    "attribution": "Attribution",
    "explore": "Exploring",
    "galleries": "Galleries",
    "trust": "Evaluation",
    "errors": "Errors",
}
"""The packages that make public names, in the order in which one meets them."""


def write(folder: Path) -> None:
    """Write the generated pages, each only if it changes, so that Sphinx reads again what is new."""
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = folder / name
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def pages() -> dict[str, str]:
    """Return the generated pages by file name."""
    families: dict[str, list[str]] = {}
    for name, home in sorted(public_names().items()):
        if not name.startswith("_"):
            families.setdefault(home.split(".")[1], []).append(name)
    titles = {**FAMILIES, **{name: name.capitalize() for name in families.keys() - FAMILIES.keys()}}
    order = [family for family in titles if family in families]
    found = {f"api-{family}.rst": api_page(titles[family], families[family]) for family in order}
    found["command-line.md"] = command_line()
    found["parts.md"] = markdown().replace("# What featvis has", "# Every part with its options", 1)
    return found


def api_page(title: str, names: list[str]) -> str:
    """Return a page of public names, what they are taken from their docstrings."""
    lines = [title, "=" * len(title), ""]
    for name in names:
        kind = "autoclass" if inspect.isclass(getattr(featvis, name)) else "autofunction"
        lines += [f".. {kind}:: featvis.{name}", ""]
    return "\n".join(lines)


def command_line() -> str:
    """Return the page of all commands, from the application that reads them."""
    lines = ["# Command line", ""]
    lines += ["Every command with its options, as `featvis COMMAND --help` tells them.", ""]
    root: Any = get_command(make_app())
    for path, command in commands(root, "featvis"):
        lines += [f"## `{path}`", "", *described(command.help or "")]
        context = command.make_context(path, [], resilient_parsing=True)
        for param in command.params:
            if param.name in ("help", "install_completion", "show_completion"):
                continue
            names = ", ".join([*param.opts, *param.secondary_opts])
            told = param.get_help_record(context)
            shown, about = told if told else (names, getattr(param, "help", None) or "")
            lines += [f"`{' '.join(shown.split())}`", f": {escape(' '.join(about.split()))}", ""]
    return "\n".join(lines)


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command with the words that call it, groups opened."""
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from commands(inner, f"{path} {name}")
        else:
            yield f"{path} {name}", inner


def described(text: str) -> list[str]:
    """Return a command's help as Markdown: its examples are a block of code."""
    told, examples = [], []
    for line in inspect.cleandoc(text.replace("\b", "")).splitlines():
        word, _, rest = line.strip().partition("Example: ")
        if not word and rest:
            examples.append(rest)
        else:
            told.append(escape(line))
    block = ["```sh", *examples, "```", ""] if examples else []
    return [*told, "", *block]


def escape(text: str) -> str:
    """Return a text as Markdown shows it word for word, code in backticks left alone."""
    parts = text.split("`")
    for place in range(0, len(parts), 2):
        for sign in "\\*_<>[]$|#":
            parts[place] = parts[place].replace(sign, "\\" + sign)
    return "`".join(parts)


def plain(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Write a docstring's formulas as reStructuredText reads them: their bars, and what follows a literal at once."""
    for place, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = line.split("``")
            parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
            parts[2::2] = ["\\ " + part if re.match(r"[^\s.,;:!?)\]]", part) else part for part in parts[2::2]]
            lines[place] = "``".join(parts)
