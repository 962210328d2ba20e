"""The status page in a real browser, and who gets to see it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from .conftest import Running, prototypes

SECONDS = 60  # that a busy machine may need
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Debian's Chromium without a window, as wide as a phone."""
    if BROWSER is None or DRIVER is None:
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    profile = tmp_path_factory.mktemp("browser")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_window_size(400, 900)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def admin_token(cloud: Running) -> str:
    return cloud.service.tokens.create("ops", "admin")


@pytest.fixture
def page(cloud: Running, admin_token: str) -> Iterator[httpx.Client]:
    """A logged-in client."""
    with httpx.Client(base_url=cloud.url, trust_env=False) as client:
        assert client.post("/login", data={"token": admin_token}).headers["location"] == "/"
        yield client


def text_of(browser: webdriver.Chrome, part: str) -> str:
    return text_at(browser, f"[data-part={part}]")


def text_at(browser: webdriver.Chrome, selector: str) -> str:
    """The text of an element, read in one step: the page may replace it at any moment."""
    return str(browser.execute_script("return document.querySelector(arguments[0]).innerText", selector))


def cell(browser: webdriver.Chrome, label: str) -> str:
    """Of the first session's row."""
    return " ".join(text_at(browser, f"td[data-label='{label}']").split())


def wait_for_text(browser: webdriver.Chrome, part: str, text: str) -> None:
    WebDriverWait(browser, SECONDS).until(lambda b: text in text_of(b, part))


def log_in(browser: webdriver.Chrome, cloud: Running, token: str) -> None:
    browser.get(cloud.url + "/")
    browser.find_element(By.ID, "token").send_keys(token)
    browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()


def test_the_page_follows_a_run_in_a_browser(browser: webdriver.Chrome, cloud: Running, admin_token: str) -> None:
    log_in(browser, cloud, "ktl_wrong")
    wrong = WebDriverWait(browser, SECONDS).until(lambda b: b.find_element(By.ID, "wrong"))
    assert "no valid token of scope admin" in wrong.text
    assert [e["message"] for e in browser.get_log("browser") if "401" not in e["message"]] == []
    log_in(browser, cloud, admin_token)
    connection = WebDriverWait(browser, SECONDS).until(lambda b: b.find_element(By.ID, "connection"))
    WebDriverWait(browser, SECONDS).until(lambda b: connection.text == "live")
    browser.execute_script("window.sameDocument = true")

    edge = cloud.client("cam-7")
    session = edge.opened()
    wait_for_text(browser, "sessions", session.rpartition("/")[2][:8])
    assert cell(browser, "Round") == "none yet"
    for round_ in (1, 2):
        edge.put(session, prototypes(round_), round_, edge="cam-7")
        edge.pairs(session, round_)
        wait_for_text(browser, "pictures", f"round {round_}.")
        assert (cell(browser, "Round"), cell(browser, "State")) == (str(round_), "done 12 pairs")
    assert (cell(browser, "Edges in"), cell(browser, "Late")) == ("1 of 1 cam-7", "none")

    images = browser.find_elements(By.CSS_SELECTOR, ".grid img")
    assert [image.get_attribute("alt") for image in images[:5]] == [
        *[f"generated image {n} for class 0" for n in (1, 2, 3, 4)],
        "generated image 1 for class 1",
    ]
    assert len(images) == 12
    drawn = "return [...document.querySelectorAll('.grid img')].every(i => i.complete && i.naturalWidth === 16)"
    browser.execute_script("document.querySelectorAll('.grid img').forEach(i => i.loading = 'eager')")
    WebDriverWait(browser, SECONDS).until(lambda b: b.execute_script(drawn))
    assert browser.execute_script("return window.sameDocument"), "the page was loaded again instead of kept live"
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.get_log("browser") == []

    browser.find_element(By.CSS_SELECTOR, "header button").click()
    WebDriverWait(browser, SECONDS).until(lambda b: b.current_url.endswith("/login"))
    browser.get(cloud.url + "/")
    assert browser.current_url.endswith("/login")


def test_an_edge_that_missed_the_deadline_is_shown_as_late(cloud: Running, page: httpx.Client) -> None:
    first, second = cloud.client("one"), cloud.client("two")
    session = first.opened(quorum=2, deadline=1.5, member="two")
    for client, name in ((first, "a-1"), (second, "b-2")):
        assert client.put(session, prototypes(1), 1, edge=name).status_code == 201
    assert first.pairs(session, 1).status_code == 200
    first.put(session, prototypes(2), 2, edge="a-1")
    assert first.pairs(session, 2).status_code == 200  # after the deadline
    html = page.get("/", params={"session": session.rpartition("/")[2]}).text
    row = html[html.index('aria-current="true"') :].partition("</tr>")[0]
    assert '<span class="problem">b-2</span>' in " ".join(row.split())
    assert "1 of 2" in " ".join(row.split())


def test_nothing_of_the_page_is_shown_without_an_admins_login(cloud: Running, page: httpx.Client) -> None:
    edge = cloud.client("cam-8")
    session = edge.opened().rpartition("/")[2]
    edge.put(f"/v1/sessions/{session}", prototypes(1))
    edge.pairs(f"/v1/sessions/{session}")
    picture = f"/page/pictures/{session}/1/0"
    assert page.get(picture).headers["content-type"] == "image/webp"
    assert page.get(f"/page/pictures/{session}/1/12").status_code == 404
    with httpx.Client(base_url=cloud.url, trust_env=False) as stranger:
        assert stranger.get("/").headers["location"] == "/login"
        for path in ("/page/events", picture):
            assert (stranger.get(path).status_code, stranger.get(path).content) == (401, b"")
        assert stranger.get("/", headers={"Cookie": "ktl_login=guessed"}).status_code == 303
        of_an_edge = cloud.service.tokens.create("cam-8", "edge")
        assert stranger.post("/login", data={"token": of_an_edge}).status_code == 401
        own = {"Authorization": edge.http.headers["authorization"]}
        assert stranger.get("/", headers=own).status_code == 303
        assert stranger.get("/page/..%2froutes.py").status_code == 404


def test_a_login_ends_with_its_token_and_by_logging_out(cloud: Running) -> None:
    for end in ("revoke", "log out"):
        token = cloud.service.tokens.create("ops-2", "admin")
        with httpx.Client(base_url=cloud.url, trust_env=False) as client:
            client.post("/login", data={"token": token})
            cookie = client.cookies["ktl_login"]
            assert token not in cookie
            assert client.get("/").status_code == 200
            if end == "revoke":
                cloud.service.tokens.revoke(token.split("_")[1])
            else:
                client.post("/logout")
            assert client.get("/", headers={"Cookie": f"ktl_login={cookie}"}).status_code == 303


def test_another_sites_page_can_neither_log_in_nor_frame_it(cloud: Running, admin_token: str) -> None:
    with httpx.Client(base_url=cloud.url, trust_env=False) as client:
        foreign = {"Sec-Fetch-Site": "cross-site"}
        assert client.post("/login", data={"token": admin_token}, headers=foreign).status_code == 403
        answer = client.post("/login", data={"token": admin_token})
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=strict" in answer.headers["set-cookie"]
        policy = client.get("/").headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


def test_the_page_names_no_other_host(page: httpx.Client) -> None:
    folder = Path(__file__).parents[3] / "ktl/cloud/service/page"
    for name in ("page.css", "page.js"):
        assert "://" not in page.get(f"/page/{name}").text
    for template in (folder / "templates").iterdir():
        assert "://" not in template.read_text()
