"""Chromium on the pages of an operator of the lab, headless and in French."""

from __future__ import annotations

import shutil
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait


class Browser:
    """Chromium on the account pages of one operator."""

    def __init__(self, host: str, port: int) -> None:
        options = webdriver.ChromeOptions()
        for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--ignore-certificate-errors", "--lang=fr",
                     f"--host-resolver-rules=MAP {host} 127.0.0.1", "--window-size=900,1200"):
            options.add_argument(word)
        options.add_experimental_option("prefs", {"intl.accept_languages": "fr"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        self.base = f"https://{host}:{port}"

    def go(self, path: str) -> None:
        self.driver.get(self.base + path)

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            box = next(one for one in self.driver.find_elements(By.NAME, name) if one.is_displayed())
            box.clear()
            box.send_keys(value)

    def press(self, words: str) -> None:
        """Press the button (or link) of these words and wait for the next page."""
        old = self.driver.find_element(By.TAG_NAME, "html")
        self.driver.find_element(By.XPATH, f'//*[self::button or self::a][normalize-space()="{words}"]').click()
        WebDriverWait(self.driver, 10).until(lambda _: gone(old))

    @property
    def title(self) -> str:
        return str(self.driver.find_element(By.TAG_NAME, "h1").text)

    def texts(self, selector: str) -> list[str]:
        return [one.text for one in self.driver.find_elements(By.CSS_SELECTOR, selector)]


def gone(element: Any) -> bool:
    try:
        element.is_enabled()
    except Exception:  # stale: the page was replaced
        return True
    return False
