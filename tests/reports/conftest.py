"""A browser and the page of a known set, for all tests of the page."""

import pytest

from lit_detseg.data.transforms import RandomHorizontalFlip
from tests.reports.browser import chromium
from tests.reports.page_sets import write_known, write_page


@pytest.fixture(scope="session")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    """The known images; training mirrors each."""
    folder = tmp_path_factory.mktemp("page")
    shards = write_known(folder / "set")
    return write_page(shards, folder / "page", [RandomHorizontalFlip(1.0)])


@pytest.fixture
def opened(browser, page):
    browser.open(page)
    return browser
