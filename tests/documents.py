"""What the README and the guides show: their code, commands, configs, links and words."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
GUIDES = REPOSITORY / "gallery" / "guides"
PAGES = sorted([*GUIDES.glob("*.md"), *GUIDES.glob("*.ipynb")])
DOCUMENTS = [REPOSITORY / "README.md", *PAGES, REPOSITORY / "CONTRIBUTING.md"]
EXAMPLES = [
    REPOSITORY / "gallery" / "README.md",
    *sorted((REPOSITORY / "gallery" / "examples").rglob("*.md")),
]


@cache
def text_of(path):
    """The text of a page; of a notebook, its cells as MyST would write them."""
    text = path.read_text("utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    code = "```{{code-cell}} ipython3\n{}\n```"
    told = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return "\n\n".join(code.format(source) if kind == "code" else source for kind, source in told)


def blocks(path, *languages):
    """The blocks of code in some languages, in their order; ``python`` are those that a build runs, too."""
    names = "|".join([*languages, *([r"\{code-cell\} ipython3"] if "python" in languages else [])])
    return re.findall(rf"^```(?:{names})\n(.*?)^```", text_of(path), re.DOTALL | re.MULTILINE)


def commands(path):
    """The command lines of featvis that a page shows."""
    lines = [line.strip() for text in blocks(path, "sh") for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("featvis ")]


def links(path):
    """The files that a page links to or shows, as it writes them."""
    found = re.findall(
        r"\]\(([^)#]+)(?:#[^)]*)?\)", re.sub(r"^```.*?^```", "", text_of(path), flags=re.M | re.S)
    )
    return [name for name in found if "://" not in name]
