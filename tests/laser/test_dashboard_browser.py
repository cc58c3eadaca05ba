"""The dashboard in headless Chromium: it lives, follows the load, chats, and says nothing on the console."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.laser.live_server import LiveServer, wait_until

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt install chromium chromium-driver)")
    options = Options()
    options.binary_location = chromium
    for argument in ("--headless=new", "--disable-dev-shm-usage", "--window-size=1280,1400"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium will not run as root with it
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


def text(browser: webdriver.Chrome, where: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", where))


def test_the_page_follows_the_load_and_tells_why_thoughts_stopped(
    browser: webdriver.Chrome, confident: LiveServer
) -> None:
    browser.get(confident.url)
    wait_until(lambda: text(browser, "#connection") == "live", PATIENCE_S)
    wait_until(lambda: text(browser, "#policy") == "policy: fixed", PATIENCE_S)
    before = text(browser, "#tiles")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: confident.post(max_tokens=400), range(8)))
    assert all(reply.status_code == 200 for reply in replies)
    wait_until(lambda: "sure: 0.97 ≥ 0.90" in text(browser, "#ended"), PATIENCE_S)
    wait_until(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#latency .dot")) >= 8, PATIENCE_S)
    # the server has served other tests, too: all of the above may be there before the page's next look
    wait_until(lambda: text(browser, "#tiles") != before, PATIENCE_S)
    assert "any 0.90" in text(browser, "#threshold .legend")
    assert browser.get_log("browser") == []


def test_the_chat_shows_thought_probes_and_answer_by_keyboard_alone(
    browser: webdriver.Chrome, confident: LiveServer
) -> None:
    browser.get(confident.url)
    browser.find_element(By.ID, "question").send_keys("What is 3 + 4?", Keys.ENTER)
    wait_until(lambda: "Stopped thinking" in text(browser, ".turn .why"), PATIENCE_S)
    assert "Stopped thinking: sure: 0.97 ≥ 0.90" in text(browser, ".turn .why")
    assert text(browser, ".turn .thought").startswith("the")
    assert "probe: 7 · 0.97" in text(browser, ".turn .probe.sure")
    assert text(browser, ".turn .boxed") == "7"
    assert text(browser, "#announcement").startswith("Answer: ")
    assert browser.get_log("browser") == []


def test_a_paused_page_stands_still(browser: webdriver.Chrome, confident: LiveServer) -> None:
    browser.get(confident.url)
    wait_until(lambda: text(browser, "#tiles") != "", PATIENCE_S)
    browser.find_element(By.ID, "pause").click()
    held = text(browser, "#ended tbody")
    confident.post(max_tokens=400)
    browser.find_element(By.ID, "question").send_keys("Is it still?", Keys.ENTER)
    wait_until(lambda: "Stopped thinking" in text(browser, ".turn .why"), PATIENCE_S)
    assert text(browser, "#ended tbody") == held
    browser.find_element(By.ID, "pause").click()
    wait_until(lambda: text(browser, "#ended tbody") != held, PATIENCE_S)


def test_nothing_overflows_at_the_width_of_a_phone(browser: webdriver.Chrome, confident: LiveServer) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get(confident.url)
        wait_until(lambda: text(browser, "#tiles") != "", PATIENCE_S)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
