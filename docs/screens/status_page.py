"""Makes status-page.png and status-page-phone.png: a real server after some rounds, in Debian's Chromium.

Run: python docs/screens/status_page.py
"""

from __future__ import annotations

import secrets
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import httpx
import torch
from photograph import DESKTOP, HERE, PHONE, photograph
from playwright.sync_api import Browser, expect
from support.browser import chromium, wait_until
from support.served import ServedCloud

from ktl.cloud.service.database import Database
from ktl.cloud.service.tokens import Tokens
from ktl.protocol import JSON, SAFETENSORS
from ktl.prototypes import class_prototypes
from ktl.seeds import stream
from ktl.wire import SessionRequest, encode_message, encode_prototypes

REQUEST = SessionRequest(
    num_classes=8,
    image_size=32,
    channels=3,
    pairs_per_class=40,
    download_bytes=400_000,
    alignment="robust",
    image_format="webp",
    seed=0,
)
DRAWN = """() => {
    const images = [...document.querySelectorAll(".grid img")];
    images.forEach(image => image.loading = "eager");
    return images.every(image => image.complete && image.naturalWidth);
}"""


def main() -> None:
    with TemporaryDirectory() as folder:
        cloud = ServedCloud(Path(folder), "builtin")
        tokens = Tokens(Database(cloud.database))
        everyone = {name: tokens.create(name, "edge") for name in ("cam-1", "cam-2", "cam-3", "lab")}
        run(cloud.url, {"lab": everyone["lab"]}, rounds=1)
        last = {name: everyone[name] for name in ("cam-1", "cam-2", "cam-3")}
        run(cloud.url, last, rounds=3)
        with chromium() as browser:
            show(browser, cloud, HERE / "status-page.png", DESKTOP, "light")
            show(browser, cloud, HERE / "status-page-phone.png", PHONE, "dark")
        cloud.stop()


def run(url: str, tokens: dict[str, str], rounds: int) -> None:
    """One session of several edges, the last of which misses the last round."""
    http = httpx.Client(base_url=url, timeout=90, trust_env=False)
    names = list(tokens)
    bearer = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()}
    headers = {"Content-Type": JSON, "Idempotency-Key": secrets.token_hex(8)} | bearer[names[0]]
    parameters = {"quorum": len(names), "deadline": 10, "member": names[1:]}
    opened = http.post("/v1/sessions", params=parameters, content=encode_message(REQUEST), headers=headers)
    session = opened.headers["location"]
    for round_ in range(1, rounds + 1):
        for seed, name in enumerate(names[:-1] if round_ == rounds and len(names) > 1 else names):
            embeddings = torch.randn(24, 8, generator=stream(seed, "embeddings", round_))
            payload = encode_prototypes(class_prototypes(embeddings, torch.arange(8).repeat_interleave(3)))
            path = f"{session}/rounds/{round_}/prototypes/{name}"
            http.put(path, content=payload, headers={"Content-Type": SAFETENSORS} | bearer[name]).raise_for_status()
        while http.get(f"{session}/rounds/{round_}/pairs?wait=30", headers=bearer[names[0]]).status_code == 202:
            pass


def show(
    browser: Browser, cloud: ServedCloud, file: Path, size: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    """The page in a window of this size."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.goto(cloud.url + "/")
    page.fill("#token", cloud.tokens["admin"])
    page.click("button[type=submit]")
    expect(page.locator("#connection")).to_have_text("live")
    wait_until(page, DRAWN)
    photograph(page, file)
    page.close()


if __name__ == "__main__":
    main()
