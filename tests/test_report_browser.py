"""report.html in headless Chromium: pictures load, slider and zoom work, dark and print render."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_page import MODEL, NAME, fake_results, write_photos

from cirbench import build
from cirbench.evaluation.results import LQ
from cirbench.report import html

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1280,900"),
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    service = shutil.which("chromedriver")
    if not browser or not service:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(service))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, driver: Any) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    write_photos(folder / "photos")
    build(folder / "photos", codec=["jpeg", "webp"], out=folder / "data")
    return {
        "model": html.write(fake_results(folder / "data", (LQ, MODEL)), folder / "model.html"),
        "lq": html.write(fake_results(folder / "data", (LQ,)), folder / "lq.html"),
    }


def media(driver: Any, kind: str = "screen", scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": features})


@pytest.fixture(params=["model", "lq"])
def page(driver: Any, files: dict[str, Path], request: pytest.FixtureRequest) -> Any:
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    media(driver)
    driver.get(files[request.param].as_uri())
    return driver


def find(page: Any, selector: str) -> Any:
    return page.find_element("css selector", selector)


def style(page: Any, selector: str, name: str) -> str:
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return str(page.execute_script(script, selector, name))


def transforms(page: Any) -> list[str]:
    """Zoom and place (in picture widths and heights) of every image of the first case."""
    script = """return [...document.querySelector('.case').querySelectorAll('.window img')].map(
        (one) => {
          const m = new DOMMatrix(getComputedStyle(one).transform);
          const [x, y] = [m.e / one.clientWidth, m.f / one.clientHeight];
          return [m.a, x, y].map((part) => (part + 1e-9).toFixed(2)).join(' ');
        })"""
    return list(page.execute_script(script))


def test_no_errors_and_all_pictures_load(page: Any) -> None:
    widths = page.execute_script("return [...document.images].map((one) => one.naturalWidth)")
    assert len(widths) >= 12 and all(widths)
    assert page.get_log("browser") == []
    loaded = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert not page.execute_script("return document.querySelector('[onerror]')")
    assert NAME in find(page, "main").get_attribute("textContent")


def test_slider_moves_by_key_and_by_drag(page: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    slide = find(page, ".slide")
    before = style(page, ".cut", "clipPath")
    slide.send_keys(Keys.ARROW_RIGHT)
    after = style(page, ".cut", "clipPath")
    assert "50%" in before and "49%" in after
    assert style(page, ".divider", "left") != "auto"
    assert slide.get_attribute("aria-valuetext").startswith(f"{LQ} 51 %")
    stage = find(page, ".stage")
    width = stage.size["width"]
    ActionChains(page).move_to_element(stage).click_and_hold().move_by_offset(
        -width // 4, 0
    ).release().perform()
    dragged = int(slide.get_attribute("value"))
    assert 23 <= dragged <= 27
    assert style(page, ".cut", "clipPath") == f"inset(0px {100 - dragged}% 0px 0px)"
    assert page.switch_to.active_element == slide  # arrow keys go on from there


def test_slider_shows_the_chosen_views(page: Any) -> None:
    script = """const box = document.querySelector('.case');
        const view = (key) => box.querySelector(`[data-key="${key}"] img`).src;
        return [box.querySelector('img.left').src === view('LQ'),
                box.querySelector('img.right').src === view('HQ')]"""
    find(page, "select.right").send_keys("HQ")
    assert page.execute_script(script) == [True, True]


def test_zoom_and_pan_are_the_same_in_all_views(page: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    assert set(transforms(page)) == {"1.00 0.00 0.00"}
    window = find(page, ".window[data-key=HQ]")
    window.send_keys("+")
    zoomed = transforms(page)
    assert set(zoomed) == {"1.50 -0.25 -0.25"}
    window.send_keys(Keys.ARROW_RIGHT)
    panned = transforms(page)
    assert set(panned) == {"1.50 -0.35 -0.25"}
    other = find(page, ".window[data-key=LQ]")
    ActionChains(page).move_to_element(other).click_and_hold().move_by_offset(
        15, 10
    ).release().perform()
    dragged = transforms(page)
    assert len(set(dragged)) == 1 and dragged != panned
    assert find(page, "output").text == "1.5\N{MULTIPLICATION SIGN}"
    find(page, "[data-do=in]").click()
    assert transforms(page)[0].startswith("2.25 ")
    other.send_keys("0")
    assert set(transforms(page)) == {"1.00 0.00 0.00"}
    window.send_keys("++", Keys.ARROW_LEFT * 20, Keys.ARROW_DOWN * 20)
    assert set(transforms(page)) == {"2.25 0.00 -1.25"}  # never beyond the picture's edge


def test_a_codec_is_chosen_from_the_keyboard(page: Any) -> None:
    from selenium.webdriver import Keys

    shown = "return [...document.querySelectorAll('[id^=pictures-]')].map((one) => one.hidden)"
    assert page.execute_script(shown) == [False, True]
    find(page, "input[name=pictures]").send_keys(Keys.ARROW_RIGHT)
    assert page.execute_script(shown) == [True, False]


def test_points_say_their_values(page: Any) -> None:
    from selenium.webdriver import ActionChains

    point = find(page, ".charts .pt")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(page).move_to_element(point).perform()
    tip = find(page, "#tip")
    assert tip.is_displayed() and "bpp" in tip.text and "PSNR Y" in tip.text


def contrast(page: Any, selector: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pair = (style(page, selector, "color"), style(page, "body", "backgroundColor"))
    low, high = sorted(map(luminance, pair))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_readable(page: Any, scheme: str) -> None:
    media(page, scheme=scheme)
    dark = style(page, "body", "backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    for selector in ("body", ".quiet", "thead th", "nav a", "details summary"):
        assert contrast(page, selector) >= 4.5, selector


def test_narrow_screens_do_not_scroll_sideways(page: Any) -> None:
    size = {"width": 400, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.execute_script("return document.documentElement.scrollWidth") == 400


def test_print_shows_all_pictures_and_no_controls(page: Any) -> None:
    media(page, "print", "dark")
    assert style(page, "body", "backgroundColor") == "rgb(255, 255, 255)"
    for selector in ("nav", ".tools", ".compare", ".tabs"):
        assert style(page, selector, "display") == "none"
    assert style(page, "#pictures-1", "display") == "block"
    assert "none" in style(page, ".window img", "transform")
    media(page)
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) > 1


def test_readable_without_scripts(driver: Any, files: dict[str, Path]) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(files["model"].as_uri())
        windows = driver.find_elements("css selector", ".window[data-key]")
        assert len(windows) == 18 and all(one.is_displayed() for one in windows)
        assert not driver.find_element("css selector", ".compare").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
