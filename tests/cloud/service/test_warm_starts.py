"""Trained extractors over HTTP: made once in the background, waited for, and the embedded cloud's bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch

from ktl.cloud.embedded import EmbeddedCloud
from ktl.generators.network import NetworkGenerator
from ktl.protocol import digest_field
from ktl.warm_start import training
from ktl.warm_start.settings import Architecture, WarmStartConfig
from ktl.wire import encode_message

from .conftest import REQUEST, Client, Running, Start

IMAGES = 320
ASKING = replace(REQUEST, warm_starts=["cnn4"])
CNN = Architecture("cnn4", 3, 16)


@pytest.fixture
def cloud(start: Start) -> Iterator[Running]:
    with start(warm_start_images=IMAGES) as running:
        yield running


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the server trains: another number of threads adds in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_it_is_waited_for_and_has_the_embedded_cloud_s_bytes(
    cloud: Running, tiny_generator: NetworkGenerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, one_thread: None
) -> None:
    client = cloud.client()
    opened = client.open(ASKING)
    reply, session = opened.json(), opened.headers["location"]
    early = get(client, session, wait=0)
    assert early.status_code == 202
    assert early.json()["model"] == "cnn4"
    answer = get(client, session)
    assert answer.status_code == 200
    assert len(answer.content) == reply["warm_start_bytes"]["cnn4"]
    assert answer.headers["repr-digest"] == digest_field(hashlib.sha256(answer.content).digest())
    part = client.http.get(f"{session}/warm-starts/cnn4", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, answer.content[100:200])
    monkeypatch.setenv("KTL_WARM_STARTS", str(tmp_path / "elsewhere"))
    embedded = EmbeddedCloud(tiny_generator, warm_starts=WarmStartConfig(images=IMAGES))
    assert embedded.open(encode_message(ASKING), []) == opened.content
    assert embedded.warm_start("cnn4") == answer.content


def get(client: Client, session: str, model: str = "cnn4", wait: float = 30) -> httpx.Response:
    return client.http.get(f"{session}/warm-starts/{model}", params={"wait": wait})


def test_sessions_that_ask_at_once_share_one_training(cloud: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Architecture] = []
    before = training.WarmStartTraining.train

    def counted(self: training.WarmStartTraining, on_step: object) -> None:
        begun.append(self.wanted)
        before(self, on_step)

    monkeypatch.setattr(training.WarmStartTraining, "train", counted)
    client = cloud.client()
    sessions = [client.opened(replace(ASKING, seed=seed)) for seed in range(3)]
    assert [get(client, session, wait=0).status_code for session in sessions] == [202] * 3
    assert len({get(client, session).content for session in sessions}) == 1
    assert begun == [CNN]


def test_a_server_that_is_stopped_goes_on_with_it(start: Start) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(start(warm_start_images=20_000))
        session = first.client("cam").opened(ASKING)
        assert get(first.client("cam"), session, wait=0).status_code == 202
        offered = first.service.warm_starting.warm_starts
    assert offered.kept(CNN) is None
    with start(warm_start_images=20_000) as second:
        assert get(second.client("cam"), session, wait=0).status_code == 202
        assert second.service.warm_starting.alive()


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        (["perfect"], "no warm start of model 'perfect'"),
        (["torch.nn:Linear"], "no warm start of model 'torch.nn:Linear'"),
        (["resnet18"], "would have more than 8,000,000 bytes"),
        (["cnn4"] * 17, "expected a list of at most 16 names"),
        (["a\nb"], "expected printable text"),
    ],
)
def test_what_is_no_architecture_of_ktl_s_own_is_refused(cloud: Running, models: list[str], reason: str) -> None:
    refused = cloud.client().open(replace(REQUEST, warm_starts=models))
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:ktl:error:invalid")
    assert reason in refused.json()["detail"]


def test_only_what_a_session_asked_for_is_sent_and_only_to_it(cloud: Running) -> None:
    client = cloud.client()
    session, other = client.opened(ASKING), client.opened()
    for path in (f"{session}/warm-starts/resnet4", f"{other}/warm-starts/cnn4"):
        refused = client.http.get(path)
        assert (refused.status_code, refused.json()["type"]) == (404, "urn:ktl:error:not-found")
    assert get(cloud.client("stranger"), session, wait=0).status_code == 404
    assert "warm_starts" not in client.open().json()  # as before for those that ask for none


def test_why_one_cannot_be_made_is_said(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KTL_WARM_STARTS", str(tmp_path / "file" / "in"))
    with start(warm_start_images=IMAGES) as cloud:
        client = cloud.client()
        session = client.opened(ASKING)
        for _ in range(2):  # asked again, it is tried again
            answer = get(client, session)
            assert (answer.status_code, answer.json()["type"]) == (422, "urn:ktl:error:warm-start-failed")
            assert "KTL_WARM_STARTS" in answer.json()["detail"]
