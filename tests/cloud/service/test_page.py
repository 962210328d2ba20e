"""The status page in a real browser, and who gets to see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import wait_until

from .conftest import Running, prototypes

MILLISECONDS = 60_000  # that a busy machine may need
expect.set_options(timeout=MILLISECONDS)


@pytest.fixture(scope="module")
def admin_token(cloud: Running) -> str:
    return cloud.service.tokens.create("ops", "admin")


@pytest.fixture
def page(cloud: Running, admin_token: str) -> Iterator[httpx.Client]:
    """A logged-in client."""
    with httpx.Client(base_url=cloud.url, trust_env=False) as client:
        assert client.post("/login", data={"token": admin_token}).headers["location"] == "/"
        yield client


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """A tab as wide as a phone."""
    context = browser.new_context(viewport={"width": 400, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(MILLISECONDS)
    yield tab
    context.close()


def cell(page: Page, label: str) -> str:
    """Of the first session's row."""
    return " ".join(page.locator(f"td[data-label='{label}']").first.inner_text().split())


def log_in(page: Page, cloud: Running, token: str) -> None:
    page.goto(cloud.url + "/")
    page.fill("#token", token)
    page.click("button[type=submit]")


def test_the_page_follows_a_run_in_a_browser(phone: Page, cloud: Running, admin_token: str) -> None:
    complaints: list[str] = []
    phone.on("console", lambda message: complaints.append(message.text))
    phone.on("pageerror", lambda error: complaints.append(str(error)))
    log_in(phone, cloud, "ktl_wrong")
    expect(phone.locator("#wrong")).to_contain_text("no valid token of scope admin")
    assert [complaint for complaint in complaints if "401" not in complaint] == []
    complaints.clear()
    log_in(phone, cloud, admin_token)
    expect(phone.locator("#connection")).to_have_text("live")
    phone.evaluate("window.sameDocument = true")

    edge = cloud.client("cam-7")
    session = edge.opened()
    expect(phone.locator("[data-part=sessions]")).to_contain_text(session.rpartition("/")[2][:8])
    assert cell(phone, "Round") == "none yet"
    for round_ in (1, 2):
        edge.put(session, prototypes(round_), round_, edge="cam-7")
        edge.pairs(session, round_)
        expect(phone.locator("[data-part=pictures]")).to_contain_text(f"round {round_}.")
        assert (cell(phone, "Round"), cell(phone, "State")) == (str(round_), "done 12 pairs")
    assert (cell(phone, "Edges in"), cell(phone, "Late")) == ("1 of 1 cam-7", "none")

    alternatives = phone.evaluate("[...document.querySelectorAll('.grid img')].map(i => i.alt)")
    assert alternatives[:5] == [
        *[f"generated image {n} for class 0" for n in (1, 2, 3, 4)],
        "generated image 1 for class 1",
    ]
    assert len(alternatives) == 12
    phone.evaluate("document.querySelectorAll('.grid img').forEach(i => i.loading = 'eager')")
    wait_until(phone, "[...document.querySelectorAll('.grid img')].every(i => i.complete && i.naturalWidth === 16)")
    assert phone.evaluate("window.sameDocument"), "the page was loaded again instead of kept live"
    assert phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert complaints == []

    phone.click("header button")
    phone.wait_for_url("**/login")
    phone.goto(cloud.url + "/")
    assert phone.url.endswith("/login")


def test_an_edge_that_missed_the_deadline_is_shown_as_late(cloud: Running, page: httpx.Client) -> None:
    first, second = cloud.client("a-1"), cloud.client("b-2")
    session = first.opened(quorum=2, deadline=1.5, member="b-2")
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
    assert page.get(picture).headers["content-type"] == "image/png"
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


def test_a_session_of_several_devices_shows_its_name_rounds_and_late_ones(page: httpx.Client, cloud: Running) -> None:
    quick, _ = cloud.client("press-quick"), cloud.client("press-slow")
    session = quick.opened(name="press", rounds=3, member=["press-slow"])
    quick.put(session, prototypes(), edge="press-quick")
    assert quick.pairs(session).status_code == 200
    (row,) = [row for row in re.findall("<tr.*?</tr>", page.get("/").text, re.DOTALL) if ">press<" in row]
    words = " ".join(re.sub("<[^>]*>", " ", row).split())
    assert "1 of 3 done" in words
    assert "1 of 1 press-quick press-slow" in words
