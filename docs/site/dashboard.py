"""Makes docs/dashboard.png: the page of `laser demo` late in its burst, with a question asked meanwhile.

    .venv/bin/python docs/site/dashboard.py

Traffic and question are the same each time, the figures are the machine's. Needs Chromium and a driver.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

PICTURE = Path(__file__).resolve().parents[1] / "dashboard.png"
SECONDS = 60  # of the demo; its burst is the second third
ASKED_S, TAKEN_S = 10.0, 17.0  # since the burst began
WIDTH, HEIGHT = 1280, 1500  # of the page, before its own height is known
COLOURS = 128  # of the picture, which keeps it small
QUESTION = "Tom has 19 books. Tom buys 33 more. Tom loses 24. How many books does Tom have at the end?"


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Starts a Chromium without a window, and ends it."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        sys.exit("chromium and chromedriver are not installed (Debian: apt install chromium chromium-driver)")
    options = Options()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        chrome.set_window_size(WIDTH, HEIGHT)
        yield chrome
    finally:
        chrome.quit()


def wait_for(pattern: str, lines: Iterable[str]) -> str:
    """Prints lines until one has the pattern; returns the match."""
    for line in lines:
        print(line, end="", flush=True)
        if found := re.search(pattern, line):
            return found[0]
    sys.exit(f"`laser demo` ended before it told {pattern}")


def main() -> None:
    """Runs the demo, looks at its page, and ends both."""
    command = [sys.executable, "-u", "-m", "laser", "demo", "--seconds", str(SECONDS)]
    with browser() as chrome, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        try:
            chrome.get(wait_for(r"http\S+", demo.stdout))
            wait_for("demo: burst", demo.stdout)
            began_s = time.monotonic()
            time.sleep(ASKED_S)
            chrome.find_element(By.ID, "question").send_keys(QUESTION, Keys.ENTER)
            WebDriverWait(chrome, 30.0).until(lambda page: page.find_element(By.CSS_SELECTOR, ".turn .why").text)
            time.sleep(max(0.0, began_s + TAKEN_S - time.monotonic()))
            chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                "width": WIDTH, "height": chrome.execute_script("return document.documentElement.scrollHeight"),
                "deviceScaleFactor": 1, "mobile": False,
            })  # fmt: skip
            chrome.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
            chrome.save_screenshot(str(PICTURE))
        finally:
            demo.terminate()
            demo.stdout.read()  # so that it can end
    Image.open(PICTURE).convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)
    print(f"{PICTURE.name}: {PICTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
