"""A real browser on pages from disk, and what is asked of every page in it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The browser itself phones home by default; what pages ask for is recorded all the same.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


PATIENCE = (
    30_000  # Milliseconds that a test waits for a page before it fails, on a machine that may be shared
)


class Visit:
    """Pages of one folder, watched: every request, error and dialog is kept and judged at the end."""

    def __init__(self, browser, folder: Path, **options) -> None:
        self.folder = folder
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.context.set_default_timeout(PATIENCE)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.context.on("requestfailed", self._failed)
        self.context.on("console", lambda message: self._console(message))
        self.context.on("weberror", lambda error: self.errors.append(str(error.error)))
        self.context.on("dialog", lambda dialog: (self.errors.append(dialog.message), dialog.dismiss()))
        self.page = self.context.new_page()

    def _failed(self, request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by leaving the page before its last picture came
            self.errors.append(f"{request.failure}: {request.url}")

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def open(self, name: str):
        path, sign, state = name.partition("#")
        self.page.goto((self.folder / path).as_uri() + sign + state)
        return self.page

    @property
    def place(self) -> str:
        """The page that is shown, as a path below the folder."""
        return self.page.url.removeprefix(self.folder.as_uri() + "/").partition("#")[0]

    def judge(self) -> None:
        assert self.errors == []
        assert self.requests
        outside = [url for url in self.requests if not url.startswith(self.folder.as_uri() + "/")]
        assert outside == [], "a request left the folder"


def paper(page) -> int:
    colour = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    return int(re.findall(r"\d+", colour)[0])


def find_axe() -> Path | None:
    named = os.environ.get("AXE_CORE")
    if named:
        assert Path(named).is_file(), f"AXE_CORE names {named}, which is not there"
        return Path(named)
    beside = Path("node_modules/axe-core/axe.min.js")
    return beside if beside.is_file() else None
