"""A real Chromium without a window, and what tests ask it."""

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
)


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A browser, which ends with the block."""
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


class Browser:
    """What a reader of the page sees and does."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1280, height: int = 2000, dark: bool = False) -> None:
        """Go to a page on the disk, in a window of a size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get((page / "index.html").absolute().as_uri())
        self.settle()

    def settle(self) -> None:
        """Wait until the cards near the window are drawn and their images decoded."""
        self.driver.execute_async_script(
            "const done = arguments[0];"
            "requestAnimationFrame(() => requestAnimationFrame(() => Promise.all("
            "[...document.images].map((image) => image.decode().catch(() => 0))).then(done)));"
        )

    def all(self, selector: str) -> list[WebElement]:
        """Elements by CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """The only such element that there is, or the first one."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """Click, and wait for what it changes."""
        self.one(selector).click()
        self.settle()

    def choose(self, selector: str, value: str) -> None:
        """Choose an entry of a list."""
        self.click(f"{selector} option[value='{value}']")

    def shown(self, selector: str) -> int:
        """How many such elements can be seen."""
        return sum(element.is_displayed() for element in self.all(selector))

    def cards(self) -> list[str]:
        """The keys of the images that can be seen."""
        return [card.get_attribute("data-key") for card in self.all(".card") if card.is_displayed()]

    def boxes(self, key: str) -> list[tuple[float, ...]]:
        """XYXY of the boxes drawn on an image, in its pixels, in ascending order."""
        found = []
        for rect in self.all(f".card[data-key='{key}'] rect.box:not(.under)"):
            names = ("x", "y", "width", "height")
            x, y, width, height = (float(rect.get_attribute(name)) for name in names)
            found.append((x, y, x + width, y + height))
        return sorted(found)

    def counts(self, chart: str) -> list[int]:
        """What the bars of a histogram stand for."""
        bars = self.all(f"#chart-{chart} [data-count]")
        return [int(bar.get_attribute("data-count")) for bar in bars]

    def script(self, expression: str) -> object:
        """The value of an expression on the page."""
        return self.driver.execute_script(f"return {expression}")

    def style(self, rule: str) -> None:
        """Add a rule to the page's style."""
        self.driver.execute_script(
            "const style = document.createElement('style'); style.textContent = arguments[0];"
            "document.head.append(style)",
            rule,
        )

    def pixels(self, element: WebElement) -> np.ndarray:
        """What an element looks like, (H, W, 3) uint8."""
        return np.array(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB"))

    def complaints(self) -> list[str]:
        """What stands in the console since the last question."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """What was asked for since the last question, by URL."""
        events = [json.loads(entry["message"]) for entry in self.driver.get_log("performance")]
        sent = [e["message"] for e in events]
        return [
            e["params"]["request"]["url"]
            for e in sent
            if e["method"] == "Network.requestWillBeSent"
        ]
