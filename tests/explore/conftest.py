"""The browser that the pages of maps are opened in."""

from tests.pages.conftest import browser as browser
from tests.pages.conftest import expect as expect
from tests.pages.conftest import visit as visit
