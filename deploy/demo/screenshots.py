"""The README's pictures, taken from a running demo: `python -m deploy.demo.screenshots [--home FOLDER]`."""

import argparse
import re
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from deploy.demo.state import HOME, Home, State

ROOT = Path(__file__).resolve().parents[2]
PICTURES = Path(__file__).with_name("screenshots")
CHROMIUM = "/usr/bin/chromium"
DESK, PHONE = (1440, 900), (390, 844)
# What charts and live values need to settle; a picture is not a test.
SETTLE_MS = 3000


def main() -> None:
    """Take every picture anew; the demo must be running."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.screenshots", description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / HOME, help="the running demo's folder")
    state = Home(parser.parse_args().home).peek()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        take(browser, state, "overview", login="admin", size=DESK, path="/console")
        take(browser, state, "bill-run", login="admin", size=DESK, path="/console/bills", follow="table tbody th a")
        take(browser, state, "portal", login="tenant-a", size=PHONE, path="/portal")
        browser.close()


def take(
    browser: Browser, state: State, name: str, *, login: str, size: tuple[int, int], path: str, follow: str = ""
) -> None:
    """Take one picture as somebody: of `path`, or of the page behind its first link that matches `follow`."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, locale="zh-CN")
    url = f"http://127.0.0.1:{state.web_port}"
    page.goto(f"{url}/login")
    page.locator("[name=login]").fill(login)
    page.locator("[name=password]").fill(state.logins[login])
    page.locator("form button.primary").click()
    page.wait_for_url(re.compile(r"/(console|portal)$"))
    page.goto(f"{url}/account/language/zh?next={path}")
    if follow:
        page.locator(follow).first.click()
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
    page.close()


if __name__ == "__main__":
    main()
