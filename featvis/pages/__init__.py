"""The browsable gallery: a static site that opens with a double click. No torch in here."""

from __future__ import annotations

from featvis.pages.compose import make_pages
from featvis.pages.folder import write_pages

__all__ = ["make_pages", "write_pages"]
