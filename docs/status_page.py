"""Makes docs/status-page.png and docs/status-page-phone.png: a real server after some rounds, in Debian's Chromium.

Run: python docs/status_page.py
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import torch
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.served import ServedCloud  # noqa: E402

from ktl.cloud.service.database import Database  # noqa: E402
from ktl.cloud.service.tokens import Tokens  # noqa: E402
from ktl.protocol import JSON, SAFETENSORS  # noqa: E402
from ktl.prototypes import class_prototypes  # noqa: E402
from ktl.seeds import stream  # noqa: E402
from ktl.wire import SessionRequest, encode_message, encode_prototypes  # noqa: E402

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
DRAWN = """
const images = [...document.querySelectorAll(".grid img")];
images.forEach(image => image.loading = "eager");
return images.every(image => image.complete && image.naturalWidth);
"""


def main() -> None:
    with TemporaryDirectory() as folder:
        cloud = ServedCloud(Path(folder), "builtin")
        tokens = Tokens(Database(cloud.database))
        everyone = {name: tokens.create(name, "edge") for name in ("cam-1", "cam-2", "cam-3", "lab")}
        run(cloud.url, {"lab": everyone["lab"]}, rounds=1)
        last = {name: everyone[name] for name in ("cam-1", "cam-2", "cam-3")}
        run(cloud.url, last, rounds=3)
        for name, size, dark in (("status-page", (1200, 1000), False), ("status-page-phone", (420, 1500), True)):
            photograph(cloud, HERE / f"{name}.png", size, dark)
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


def photograph(cloud: ServedCloud, file: Path, size: tuple[int, int], dark: bool) -> None:
    """The page of a browser window of this size."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    scheme = ["--force-dark-mode"] if dark else []
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", *scheme):
        options.add_argument(argument)
    browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": dark}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        browser.get(cloud.url + "/")
        browser.find_element(By.ID, "token").send_keys(cloud.tokens["admin"])
        browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        WebDriverWait(browser, 20).until(lambda b: b.find_element(By.ID, "connection").text == "live")
        WebDriverWait(browser, 20).until(lambda b: b.execute_script(DRAWN))
        browser.save_screenshot(str(file))
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
