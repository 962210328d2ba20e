"""The report says what the run's files say, and opens anywhere without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from ktl.edge.compare import paired_gain
from ktl.edge.record import read_record, write_record
from ktl.errors import CheckpointError, UsageError
from ktl.files import write_json
from ktl.formatting import in_interval, in_points
from ktl.intervals import wilson_interval
from ktl.report.page import write_report
from ktl.report.summary import reliability, summarise
from ktl.run_folder import LAYOUT, settings_table

VOID = {"meta", "link", "img", "br", "path", "use", "rect", "line", "circle"}


class Page(HTMLParser):
    """Its text, its images' alternatives, its ids; and that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.alternatives: list[str | None] = []
        self.ids: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if attributes.get("id") else []
        if tag == "img":
            self.alternatives.append(attributes.get("alt"))
        if attributes.get("role") == "img":
            self.alternatives.append(attributes.get("aria-label"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data.strip())


@pytest.fixture(scope="module")
def html(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report([run], out)
    return out.read_text(encoding="utf-8")


def test_the_page_says_what_the_metrics_say(run: Path, html: str) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    [alone] = [json.loads(line) for line in (run / "local-only" / "metrics.jsonl").read_text().splitlines()]
    text = Page(html).text
    assert f"{100 * rows[-1]['test_accuracy']:.1f}%" in text
    assert f"{100 * alone['test_accuracy']:.1f}%" in text
    gain, bounds = paired_gain(run, run / "local-only")
    assert text.count(in_points(gain)) == 2
    assert in_interval(bounds, "+") in text
    right = round(60 * rows[-1]["test_accuracy"])
    assert f"{right} of 60" in text
    assert in_interval(wilson_interval(right, 60)) in text
    assert f"{sum(row['bytes_up'] for row in rows)} B" in text
    for name in (
        "blue",
        "green",
        "red",
        "cloud.alignment",
        "robust",
        "(torch)",
        "training.optimizer",
        "transfer.temperature",
    ):
        assert name in text


def test_every_class_has_its_accuracy_shots_and_generated_image(run: Path, html: str) -> None:
    summary = summarise(run)
    page = Page(html)
    for index, name in enumerate(summary.class_names):
        assert f"4 labelled images of {name}" in page.alternatives
        assert f"the image generated at the aligned prototype of {name}" in page.alternatives
        assert f"{100 * summary.confusion[index, index] / summary.confusion[index].sum():.1f}%" in page.text
    assert sum(summary.confusion.ravel()) == 60
    wrong = int((~summary.main.right).sum())
    assert page.text.count("taken for") == 0
    assert len([part for part in page.text if part.startswith("taken for ")]) == min(wrong, 24) > 0


def test_every_picture_has_words_and_no_id_appears_twice(html: str) -> None:
    page = Page(html)
    assert page.alternatives
    assert all(alternative and len(alternative) > 10 for alternative in page.alternatives)
    drawn = [name for name in page.ids if re.match(r"[a-z]?[0-9a-f]{10}", name)]  # matplotlib's clips and markers
    assert len(drawn) == len(set(drawn))


def test_it_names_no_address_to_load_from(html: str) -> None:
    assert "<script" not in html
    assert "@import" not in html
    sources = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')> ]{1,30})""", html)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)


def test_class_names_are_text_and_nothing_else(run: Path, tmp_path: Path) -> None:
    evil = shutil.copytree(run, tmp_path / "evil")
    names = ["<script>alert(1)</script>", "$\\frac{a}$", '" onload="x']
    for folder in (evil, evil / "local-only"):
        facts = json.loads((folder / "record.json").read_text())
        (folder / "record.json").write_text(json.dumps(facts | {"class_names": names}))
    write_report([evil], tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    text = Page(html).text
    assert all(name in text for name in names)


def test_a_run_of_either_layout_gives_the_same_page(run: Path, html: str, tmp_path: Path) -> None:
    table = settings_table(run)
    assert table["transfer"]["name"] == "image-vector"
    today = shutil.copytree(run, tmp_path / run.name)
    write_json(today / "config.json", {"layout": LAYOUT} | table)
    write_report([today], tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html


def test_a_run_without_a_transfer_was_trained_alone(run: Path, tmp_path: Path) -> None:
    today = shutil.copytree(run / "local-only", tmp_path / "alone")
    write_json(today / "config.json", {"layout": LAYOUT} | settings_table(run / "local-only") | {"transfer": None})
    summary = summarise(today)
    assert [arm.name for arm in summary.arms] == ["local only"]


def test_a_damaged_configuration_is_refused(run: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(run, tmp_path / "damaged")
    write_json(damaged / "config.json", {"layout": LAYOUT, "transfer": {"name": "mse", "settings": {}}})
    with pytest.raises(CheckpointError, match=r"config\.json is damaged or from another ktl .*'data'"):
        write_report([damaged], tmp_path / "report.html")
    (damaged / "config.json").unlink()
    with pytest.raises(CheckpointError, match="there is no run at"):
        write_report([damaged], tmp_path / "report.html")


def test_several_runs_stand_side_by_side(run: Path, hundred: Path, tmp_path: Path) -> None:
    write_report([run, hundred, run / "local-only"], tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    for name in ("colours", "hundred", "local-only"):
        assert text.count(name) >= 3
    assert "Settings in colour differ between the runs." in text


@pytest.mark.timing
def test_a_report_of_a_hundred_classes_is_small_and_quick(hundred: Path, tmp_path: Path) -> None:
    start = time.process_time()
    write_report([hundred], tmp_path / "report.html")
    assert time.process_time() - start <= 20.0  # processor seconds: of a busy machine the wall clock says nothing
    assert (tmp_path / "report.html").stat().st_size <= 5_000_000
    assert "class 99" in Page((tmp_path / "report.html").read_text(encoding="utf-8")).text


def test_equal_runs_give_equal_pages(run: Path, html: str, tmp_path: Path) -> None:
    write_report([run], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == html


def test_it_is_made_without_torch(run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "ktl.report", tmp_path / "report.html", run]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(re.findall(r"^import time:.*\| +(\w+)$", ended.stderr, flags=re.MULTILINE))
    assert {"matplotlib", "jinja2"} <= modules
    assert modules.isdisjoint({"torch", "onnxruntime"})
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_a_run_that_has_not_ended_has_no_report(run: Path, tmp_path: Path) -> None:
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    (unfinished / "record.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds no finished run: record\.json is missing; train it to the end"):
        write_report([unfinished], tmp_path / "report.html")
    damaged = shutil.copytree(run, tmp_path / "damaged")
    (damaged / "record.safetensors").write_bytes(b"12345678")
    with pytest.raises(CheckpointError, match=r"the record of .* is damaged"):
        write_report([damaged], tmp_path / "report.html")
    with pytest.raises(UsageError, match="give at least one run"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(CheckpointError, match=r"cannot write .*; name another --out"):
        write_report([run], tmp_path / "damaged" / "record.json" / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_reliability_counts_each_image_once(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    record = read_record(copy)
    labels = np.zeros(10, dtype=np.int64)
    predicted = np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 1])
    confidence = np.array([0.95] * 5 + [0.55] * 4 + [1.0], dtype=np.float32)
    record.arrays.update(labels=labels, predicted=predicted, confidence=confidence)
    write_record(copy, record)
    measured = reliability(summarise(copy).main)
    assert measured.images == [4, 6]
    assert measured.accuracy == pytest.approx([0.5, 4 / 6])
    assert measured.confidence == pytest.approx([0.55, (5 * 0.95 + 1) / 6])
    assert measured.error == pytest.approx((4 * 0.05 + abs(5.75 - 4)) / 10, abs=1e-6)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_in_a_browser_without_a_request_or_an_error(
    browser: Browser, html: str, tmp_path: Path, scheme: str, width: int
) -> None:
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page = context.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    address = (tmp_path / "report.html").as_uri()
    page.goto(address)
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # tables scroll, the page does not
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 23)"
    assert dark == (scheme == "dark")
    ink = page.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
    assert (sum(map(int, re.findall(r"\d+", ink)[:3])) > 384) == (scheme == "dark")
    context.close()
