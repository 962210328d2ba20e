"""The status page at `/`, its login, its images, and the stream that keeps it live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path as File
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Path, Query, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import RedirectResponse, Response, StreamingResponse

from ktl.cloud.service.context import Here, RoundNumber, Service, SessionId
from ktl.cloud.service.page.overview import MINUTES, overview
from ktl.cloud.service.quotas import read_body
from ktl.cloud.service.refusals import Refused
from ktl.protocol import SESSION_ID

router = APIRouter(include_in_schema=False)

COOKIE = "ktl_login"
HERE = File(__file__).parent
STATIC = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
MAX_FORM_BYTES = 1024
CALM = 0.5  # seconds between two updates, so that many changes are one
KEEP_ALIVE = 15.0  # seconds

templates = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)

OneSession = Annotated[str | None, Query(alias="session", pattern=f"^{SESSION_ID}$")]


class NotLoggedIn(Exception):
    """The browser is sent to the login form."""


async def _logged_in(request: Request, here: Here) -> str:
    key = request.cookies.get(COOKIE, "")
    who = await here.in_thread(lambda: here.logins.caller(key))
    if who is None:
        raise NotLoggedIn
    request.state.token = who.token
    return key


LoggedIn = Annotated[str, Depends(_logged_in)]


async def to_login(request: Request, error: Exception) -> Response:
    """What a browser gets that is not logged in, or no longer: pages lead to the form, the rest is refused."""
    status = 303 if request.url.path == "/" else 401
    return RedirectResponse("/login", 303) if status == 303 else Response(status_code=401)


@router.get("/")
async def page(here: Here, key: LoggedIn, session: OneSession = None) -> Response:
    """The whole page."""
    return _html("page.html", live=await here.in_thread(lambda: _live(here, session)))


@router.get("/page/events")
async def events(here: Here, key: LoggedIn, session: OneSession = None) -> Response:
    """The page's live part, again after each change."""
    return StreamingResponse(_updates(here, key, session), media_type="text/event-stream")


@router.get("/page/pictures/{session}/{round}/{index}")
async def thumbnail(
    here: Here, key: LoggedIn, session: SessionId, round_: RoundNumber, index: Annotated[int, Path(ge=0, lt=2**31)]
) -> Response:
    """One generated image."""
    file = await here.in_thread(lambda: here.thumbnails.file(session, round_, index))
    return Response(file, media_type="image/png", headers={"Cache-Control": "private, max-age=86400, immutable"})


@router.get("/page/{name}")
async def static(name: str) -> Response:
    """Style, script and icon; nothing in them is secret."""
    if name not in STATIC:
        raise Refused("not-found", f"the page has no part {name[:100]!r}")
    return Response(
        (HERE / "static" / name).read_bytes(), media_type=STATIC[name], headers={"Cache-Control": "no-cache"}
    )


@router.get("/login")
async def login_form() -> Response:
    """Asks for the admin token."""
    return _html("login.html", wrong=False)


@router.post("/login")
async def login(request: Request, here: Here) -> Response:
    """Takes the admin token, and gives the browser a key of its own."""
    _require_own_form(request)
    fields = parse_qs((await read_body(request, MAX_FORM_BYTES)).decode("ascii", "replace"))
    token = fields.get("token", [""])[0].strip()
    key = await here.in_thread(lambda: here.logins.begin(token))
    if key is None:
        here.unknown.take(request.client.host if request.client else "")
        return _html("login.html", 401, wrong=True)
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/logout")
async def logout(request: Request, here: Here) -> Response:
    """Ends the login of this browser."""
    _require_own_form(request)
    here.logins.end(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _require_own_form(request: Request) -> None:
    """Another site's page must not log a browser in or out."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refused("forbidden", "forms are taken from the server's own pages alone")


def _html(template: str, status: int = 200, **values: object) -> Response:
    text = templates.get_template(template).render(values)
    return Response(text, status, {"Content-Security-Policy": POLICY}, "text/html; charset=utf-8")


def _live(here: Service, session: str | None) -> str:
    content = overview(here.database, here.store, here.thumbnails, session)
    states = [here.live(each.id, each.round) if each.round else None for each in content.sessions]
    return templates.get_template("live.html").render(
        content=content, rounds=states, minutes=MINUTES, chosen=session, generator=here.generator
    )


async def _updates(here: Service, key: str, session: str | None) -> AsyncIterator[str]:
    told = ""
    with here.events.listen() as changes:
        while not changes.stopping and await here.in_thread(lambda: here.logins.caller(key)) is not None:
            text = await here.in_thread(lambda: _live(here, session))
            if text != told:
                told = text
                yield "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"
            began = time.monotonic()
            if not await changes.wait(KEEP_ALIVE):
                yield ": still here\n\n"
            await asyncio.sleep(max(CALM - (time.monotonic() - began), 0))
