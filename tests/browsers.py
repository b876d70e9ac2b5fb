"""A real browser for tests of pages, by playwright; such tests are skipped without them."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

INSTALL = "pip install playwright, and install Chromium or run `playwright install chromium`"
sync_api = pytest.importorskip("playwright.sync_api", reason=f"no browser driver: {INSTALL}")

ARGUMENTS = """
--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync
""".split()
CONTRAST = Path(__file__).with_name("contrast.js").read_text()
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 375, "height": 800}}
SCHEMES = ("light", "dark")


@contextlib.contextmanager
def started_browser() -> Iterator[Any]:
    """Start Chromium, the installed one or playwright's."""
    installed = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_api.sync_playwright() as driver:
        try:
            started = driver.chromium.launch(executable_path=installed, args=ARGUMENTS)
        except sync_api.Error as error:
            pytest.skip(f"no browser starts ({str(error).splitlines()[0]}): {INSTALL}")
        yield started
        started.close()


def faint(page: Any, least: int) -> list[Any]:
    """Text of too little contrast, of `least` texts or more: [text, contrast, large]."""
    found = page.evaluate(CONTRAST)
    assert len(found) >= least, found
    return [each for each in found if each[1] < (3 if each[2] else 4.5)]
