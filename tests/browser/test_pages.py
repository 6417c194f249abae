"""Can a person do it? The pages in Chromium, on the living building."""

import re
import time
from pathlib import Path

import pytest

AXE = Path(__file__).resolve().parents[2] / "cloud_api/web/node_modules/axe-core/axe.min.js"
TIMES = 20
# The table behind a chart, the plan of a building, and a matrix that has two rows of headings may be moved sideways.
WIDE_TABLES = """
[...document.querySelectorAll(".table-wrap")]
  .filter((wrap) => wrap.checkVisibility() && wrap.scrollWidth > wrap.clientWidth + 2)
  .filter((wrap) => !wrap.closest(".chart-table") && !wrap.querySelector("svg.plan") && wrap.querySelector("table")?.tHead?.rows.length === 1)
  .map((wrap) => wrap.getAttribute("aria-label"))
"""

pytestmark = pytest.mark.browser

FIGURE = "#power-now ~ .stat [data-figure]"


def _wait_for(page, holds, seconds=60):
    """Look often: what is measured here is the product, not the test's patience. (The pages allow no `eval`.)"""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, (
            f"not within {seconds} s; the page says:\n{page.locator('main').inner_text()[:1500]}"
        )
        page.wait_for_timeout(15)


def _wait_for_life(page):
    _wait_for(page, lambda: page.locator(FIGURE).inner_text() != "–")


def test_a_changed_modbus_register_shows_on_the_open_page_without_a_reload(stack, browse):
    """The issue asks for 95 % under 2 s with a poll of 1 s; the distribution is printed, the bound here is generous."""
    page = browse("facilities")
    page.evaluate("window.neverReloaded = true")
    _wait_for_life(page)
    delays = []
    for i in range(TIMES):
        watts = 150_000 + 1_300 * i  # Above what the building ever draws by itself.
        expected = f"{watts / 1000:.1f}"
        started = time.monotonic()
        stack.override("meter-main", "active_power_total", watts)
        _wait_for(page, lambda: page.locator(FIGURE).inner_text() == expected)  # noqa: B023
        delays.append(time.monotonic() - started)
    delays.sort()
    shown = ", ".join(f"p{p} {delays[min(TIMES - 1, TIMES * p // 100)]:.2f} s" for p in (5, 50, 95))
    print(f"\nregister → page, {TIMES} changes, poll 1 s: {shown}, longest {delays[-1]:.2f} s")
    assert page.evaluate("window.neverReloaded")
    assert page.errors == []


def test_a_silenced_device_becomes_an_alarm_that_is_acknowledged_and_clears(stack, browse):
    page = browse("facilities")
    _wait_for_life(page)
    page.evaluate("window.neverReloaded = true")
    alarm = page.locator("#overview-alarms li", has_text="301")
    stack.silence("meter-t301")
    try:
        alarm.wait_for(timeout=60_000)
        alarm.get_by_role("button", name="Acknowledge").click()
        alarm.get_by_text("acknowledged").wait_for()
    finally:
        stack.mend("meter-t301")
    alarm.wait_for(state="detached", timeout=120_000)
    assert page.evaluate("window.neverReloaded")


def test_a_stale_value_is_dimmed_with_its_age(stack, browse):
    page = browse("facilities")
    _wait_for_life(page)
    page.evaluate(f"document.querySelector('{FIGURE}').closest('[data-points]').dataset.staleAfterS = '-1'")
    _wait_for(page, lambda: page.locator("#power-now ~ .stat .live.stale").count() == 1)
    assert "ago" in page.locator("#power-now ~ .stat [data-age]").inner_text()


def test_a_tenant_sees_its_own_page_and_no_other(stack, browse):
    page = browse("north", width=390, height=844)
    assert page.url.endswith("/portal")
    assert "Chengguang Data" in page.locator("main").inner_text()
    assert page.goto(f"{stack.url}/console").status == 404
    assert page.goto(f"{stack.url}/console/live?points=1,2,3").status == 404


def test_the_console_can_be_reached_and_left_by_keyboard_alone(stack, browse):
    page = browse()
    page.goto(f"{stack.url}/login")
    page.keyboard.type("facilities")
    page.keyboard.press("Tab")
    page.keyboard.type("a password for tests")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/console$"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    unseen = []
    for _ in range(90):  # Through the content, out of it, and again from the top through the menu.
        page.keyboard.press("Tab")
        what, outline = page.evaluate(
            "[document.activeElement.outerHTML.slice(0, 120), getComputedStyle(document.activeElement).outlineStyle]"
        )
        if outline == "none" and not what.startswith("<body"):
            unseen.append(what)
        if page.evaluate("document.activeElement.textContent.trim()") == "Sign out":
            break
    assert not unseen, "focus cannot be seen on:\n" + "\n".join(unseen)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/login$"))


def _menu(page, extra=()):
    """Every page that the menu leads to, and some that it does not."""
    found = page.eval_on_selector_all("nav a[href^='/']", "links => links.map(a => a.getAttribute('href'))")
    assert found
    return [*dict.fromkeys(found), *extra]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("login", ["admin", "north"])
def test_axe_finds_nothing_to_complain_about_on_any_page_of_the_menu(stack, browse, login, scheme):
    page = browse(login, scheme=scheme)
    complaints = []
    for path in _menu(page, extra=["/account"]):
        page.goto(stack.url + path)
        page.wait_for_timeout(400)
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})"
        )
        complaints += [
            f"{path}: {v['id']}: {v['help']}: {n['html'][:160]}" for v in found["violations"] for n in v["nodes"][:3]
        ]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("login", ["admin", "north"])
def test_no_page_of_the_menu_is_wider_than_the_screen_and_no_table_on_a_phone(stack, browse, login, width):
    page = browse(login, width=width)
    wide = []
    for path in _menu(page, extra=["/account"]):
        page.goto(stack.url + path)
        page.wait_for_timeout(400)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(path)
        if width < 500:
            wide += [f"{path}: table {label}" for label in page.evaluate(WIDE_TABLES)]
    assert not wide, "\n".join(wide)
