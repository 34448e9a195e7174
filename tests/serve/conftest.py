"""The browser of the pages' tests."""

from __future__ import annotations

from tests.pages.conftest import browser, expect

__all__ = ["browser", "expect"]
