"""An edge and its cloud over HTTP: the embedded cloud's bits, whatever happens on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from support.gateway import Fault, Gateway
from support.served import Command, ServedCloud

from ktl.cloud.embedded import EmbeddedCloud
from ktl.edge.compare import Comparison
from ktl.edge.network.http import HttpCloud
from ktl.edge.network.transport import Access
from ktl.edge.settings import RunConfig
from ktl.errors import CheckpointError, CloudError, CloudUnreachable, UsageError
from ktl.generators.network import NetworkGenerator
from ktl.prototypes import class_prototypes
from ktl.seeds import stream
from ktl.warm_start.settings import WarmStartConfig
from ktl.wire import SessionRequest, encode_message, encode_prototypes

Contents = Callable[[Path], dict[str, Any]]

REQUEST = SessionRequest(
    num_classes=3,
    image_size=16,
    channels=3,
    pairs_per_class=8,
    download_bytes=100_000,
    alignment="published",
    image_format="webp",
    seed=3,
)


def upload(round_number: int) -> bytes:
    embeddings = torch.randn(9, 3, generator=stream(round_number, "embeddings"))
    return encode_prototypes(class_prototypes(embeddings, torch.arange(3).repeat_interleave(3)))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_generator_file: Path) -> Iterator[ServedCloud]:
    """A cloud in a process of its own."""
    server = ServedCloud(tmp_path_factory.mktemp("served"), tiny_generator_file, "--warm-start-images", 64)
    yield server
    assert server.stop() == 0


@pytest.fixture
def gateway(served: ServedCloud) -> Iterator[Gateway]:
    with Gateway(served.url) as between:
        yield between


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As a service's jobs align: the published alignment magnifies the rounding of another order of sums."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def expected(tiny_generator: NetworkGenerator, one_thread: None) -> list[bytes]:
    """The reply and the pairs of two rounds, from an embedded cloud."""
    cloud = EmbeddedCloud(tiny_generator)
    return [cloud.open(encode_message(REQUEST), []), cloud.exchange({0: upload(1)}), cloud.exchange({0: upload(2)})]


def connected(served: ServedCloud, run: Path, url: str = "", patience: float = 20.0) -> HttpCloud:
    return HttpCloud(Access(url or served.url, served.tokens["edge"], patience=patience), run)


def sessions(served: ServedCloud) -> list[dict[str, Any]]:
    answer = httpx.get(
        f"{served.url}/v1/sessions", headers={"Authorization": f"Bearer {served.tokens['admin']}"}, trust_env=False
    )
    listed: list[dict[str, Any]] = answer.json()["sessions"]
    return listed


@pytest.mark.slow
def test_two_processes_give_the_weights_and_metrics_of_one(
    served: ServedCloud, small_config: RunConfig, finished: Comparison, contents_of: Contents, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (tmp_path / "token").write_text(served.tokens["edge"] + "\n")
    numbers = "--shots 4 --rounds 3 --steps 45 --warmup-steps 15 --pairs-per-class 8 --threads 1 --json"
    options = ["--data", small_config.data.source, "--cloud", served.url, "--token-file", tmp_path / "token"]
    edge = Command(["edge", "train", *options, *numbers.split(), "--out", run], tmp_path / "edge.log")
    assert edge.wait(120) == 0, edge.output()
    assert contents_of(run) == contents_of(finished.ktl.out)
    assert contents_of(run / "local-only") == contents_of(finished.local.out)
    assert json.loads(edge.output().splitlines()[-1])["gain"] == finished.gain
    assert served.tokens["edge"] not in "".join(file.read_text("latin1") for file in run.rglob("*") if file.is_file())
    again = Command(["edge", "train", "--resume", run, "--token-file", tmp_path / "token"], tmp_path / "edge.log")
    assert again.wait(120) == 0, again.output()
    assert contents_of(run) == contents_of(finished.ktl.out)


def test_passing_faults_are_waited_out(
    served: ServedCloud, gateway: Gateway, expected: list[bytes], tmp_path: Path
) -> None:
    gateway.faults = [
        Fault("GET", "/v1", status=502, body=b"<html>bad gateway</html>"),
        Fault("POST", "/sessions", status=503, headers={"Retry-After": "1"}),
        Fault("PUT", "/prototypes/edge", status=429, headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        Fault("GET", "/pairs", status=503, headers={"Retry-After": "soon"}),
    ]
    cloud = connected(served, tmp_path, gateway.url)
    began = time.monotonic()
    assert cloud.open(encode_message(REQUEST), []) == expected[0]
    assert time.monotonic() - began >= 1.0
    assert [cloud.exchange({0: upload(1)}), cloud.exchange({0: upload(2)})] == expected[1:]
    assert gateway.faults == []
    keys = [headers["idempotency-key"] for method, _, headers in gateway.seen if method == "POST"]
    assert len(keys) == 2
    assert keys[0] == keys[1] == json.loads((tmp_path / "session.json").read_text())["key"]


def test_a_cut_download_is_gone_on_with(
    served: ServedCloud, gateway: Gateway, expected: list[bytes], tmp_path: Path
) -> None:
    cloud = connected(served, tmp_path, gateway.url)
    cloud.open(encode_message(REQUEST), [])
    gateway.faults = [Fault("GET", "/pairs", cut_after=1000), Fault("GET", "/pairs", cut_after=500)]
    assert cloud.exchange({0: upload(1)}) == expected[1]
    ranges = [headers.get("range") for method, path, headers in gateway.seen if path.endswith("/pairs")]
    assert ranges == [None, "bytes=1000-", "bytes=1500-"]


def test_a_damaged_download_is_thrown_away(
    served: ServedCloud, gateway: Gateway, expected: list[bytes], tmp_path: Path
) -> None:
    cloud = connected(served, tmp_path, gateway.url)
    cloud.open(encode_message(REQUEST), [])
    gateway.faults = [Fault("GET", "/pairs", damage=lambda body: body[:-1] + bytes([body[-1] ^ 1]))]
    assert cloud.exchange({0: upload(1)}) == expected[1]
    assert gateway.faults == []


def test_a_warm_start_is_waited_for_and_a_cut_or_damaged_one_asked_for_again(
    gateway: Gateway, served: ServedCloud, tmp_path: Path, tiny_generator: NetworkGenerator
) -> None:
    cloud = HttpCloud(Access(gateway.url, served.tokens["edge"]), tmp_path)
    asking = encode_message(replace(REQUEST, warm_starts=["cnn4"]))
    gateway.faults = [
        Fault("GET", "/cnn4", damage=lambda body: body[:-1] + bytes([body[-1] ^ 1])),
        Fault("GET", "/cnn4", cut_after=1000),
    ]
    embedded = EmbeddedCloud(tiny_generator, warm_starts=WarmStartConfig(images=64))
    assert cloud.open(asking, []) == embedded.open(asking, [])
    payload = cloud.warm_start("cnn4")
    assert payload == embedded.warm_start("cnn4")
    assert cloud.exchange({0: upload(1)})  # the session goes on with its rounds
    with pytest.raises(CloudError, match="asked for no warm start of 'resnet4'"):
        cloud.warm_start("resnet4")


def test_an_answer_with_another_part_than_asked_for_is_not_put_together(
    served: ServedCloud, gateway: Gateway, expected: list[bytes], tmp_path: Path
) -> None:
    cloud = connected(served, tmp_path, gateway.url)
    cloud.open(encode_message(REQUEST), [])
    wrong = {"Content-Range": "bytes 7-9/100", "ETag": '"another"'}
    gateway.faults = [
        Fault("GET", "/pairs", cut_after=1000),
        Fault("GET", "/pairs", status=206, headers=wrong, body=b"abc"),
    ]
    assert cloud.exchange({0: upload(1)}) == expected[1]
    assert gateway.faults == []


def test_an_edge_started_again_finds_its_session(served: ServedCloud, expected: list[bytes], tmp_path: Path) -> None:
    before = len(sessions(served))
    killed = connected(served, tmp_path)
    killed.open(encode_message(REQUEST), [])
    killed.exchange({0: upload(1)})
    again = connected(served, tmp_path)
    assert again.open(encode_message(REQUEST), [{0: upload(1)}]) == expected[0]
    assert again.exchange({0: upload(2)}) == expected[2]
    assert len(sessions(served)) == before + 1


def test_a_session_that_the_cloud_lost_is_told_to_it_again(
    served: ServedCloud, expected: list[bytes], tmp_path: Path
) -> None:
    first = connected(served, tmp_path)
    first.open(encode_message(REQUEST), [])
    first.exchange({0: upload(1)})
    lost = json.loads((tmp_path / "session.json").read_text())["session"]
    deleted = httpx.delete(
        f"{served.url}/v1/sessions/{lost}", headers={"Authorization": f"Bearer {served.tokens['edge']}"}
    )
    assert deleted.status_code == 204
    with pytest.raises(CloudError, match=r"there is no session .* \(404\)"):
        first.exchange({0: upload(2)})
    again = connected(served, tmp_path)
    again.open(encode_message(REQUEST), [{0: upload(1)}])
    assert again.exchange({0: upload(2)}) == expected[2]
    assert json.loads((tmp_path / "session.json").read_text())["session"] != lost


@pytest.mark.parametrize("clients", [3, 12])
def test_several_clients_in_one_session_get_the_embedded_clouds_bytes_after_a_kill_too(
    served: ServedCloud, tiny_generator: NetworkGenerator, one_thread: None, tmp_path: Path, clients: int
) -> None:
    rounds = [{client: upload(100 * number + client) for client in range(clients)} for number in (1, 2)]
    embedded = EmbeddedCloud(tiny_generator)
    reply = embedded.open(encode_message(REQUEST), [])
    pairs = [embedded.exchange(uploads) for uploads in rounds]
    access = Access(served.url, served.tokens["edge"], patience=20.0)
    before = len(sessions(served))
    killed = HttpCloud(access, tmp_path, clients)
    assert killed.open(encode_message(REQUEST), []) == reply
    assert killed.exchange(rounds[0]) == pairs[0]
    again = HttpCloud(access, tmp_path, clients)
    assert again.open(encode_message(REQUEST), rounds[:1]) == reply
    assert again.exchange(rounds[1]) == pairs[1]
    assert len(sessions(served)) == before + 1
    names = sessions(served)[0]["round"]["edges_in"]
    assert (len(names), names[0], names[-1]) == (clients, f"edge-{0:0{clients // 10 + 1}}", f"edge-{clients - 1}")


def test_a_round_in_which_a_client_is_missing_is_refused_before_anything_is_sent(
    served: ServedCloud, gateway: Gateway, tmp_path: Path
) -> None:
    cloud = HttpCloud(Access(gateway.url, served.tokens["edge"]), tmp_path, clients=3)
    cloud.open(encode_message(REQUEST), [])
    sent = len(gateway.seen)
    reason = "round 1 has uploads of 2 of 3 clients: over a service every client takes part in every round"
    with pytest.raises(UsageError, match=reason):
        cloud.exchange({0: upload(1), 2: upload(2)})
    assert len(gateway.seen) == sent


def test_another_number_of_clients_is_another_session(served: ServedCloud, tmp_path: Path) -> None:
    keys = set()
    for clients in (1, 2, 3):
        HttpCloud(Access(served.url, served.tokens["edge"]), tmp_path, clients).open(encode_message(REQUEST), [])
        keys.add(json.loads((tmp_path / "session.json").read_text())["key"])
    assert len(keys) == 3


def test_other_settings_are_another_session(served: ServedCloud, tmp_path: Path) -> None:
    connected(served, tmp_path).open(encode_message(REQUEST), [])
    first = json.loads((tmp_path / "session.json").read_text())
    connected(served, tmp_path).open(encode_message(replace(REQUEST, seed=4)), [])
    second = json.loads((tmp_path / "session.json").read_text())
    assert {name for name in first if first[name] == second[name]} == {"url"}


@pytest.mark.parametrize("content", [b'{"url": ', b'{"url": "\x85"}', b'{"url": "http://x", "key": 7}', b"[]"])
def test_a_damaged_session_file_is_named(served: ServedCloud, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "session.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"session\.json is damaged .* delete it"):
        connected(served, tmp_path).open(encode_message(REQUEST), [])


@pytest.mark.timing
def test_a_refusal_is_passed_on_at_once(served: ServedCloud, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(CloudError, match=r"unknown alignment 'perfect': choose one of .* \(422\)"):
        connected(served, tmp_path).open(encode_message(replace(REQUEST, alignment="perfect")), [])
    assert time.monotonic() - began < 5.0
    wrong = Access(served.url, "ktl_000000000000_" + 43 * "x")
    with pytest.raises(CloudError, match="does not accept the token: check --token-file or KTL_TOKEN"):
        HttpCloud(wrong, tmp_path).open(encode_message(REQUEST), [])
    with pytest.raises(CloudError, match=r"call open\(\) before exchange\(\)"):
        connected(served, tmp_path).exchange({0: upload(1)})


@pytest.mark.timing
def test_a_cloud_that_does_not_answer_is_given_up_with_what_to_check(served: ServedCloud, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(CloudUnreachable, match=r"could not be reached for 1 s .*: check the address, the network"):
        connected(served, tmp_path, "http://127.0.0.1:1", patience=1.0).open(encode_message(REQUEST), [])
    assert time.monotonic() - began < 5.0


def test_a_cloud_that_stays_busy_is_given_up(served: ServedCloud, gateway: Gateway, tmp_path: Path) -> None:
    busy = Fault("POST", "/sessions", status=503, headers={"Retry-After": "60"})
    gateway.faults = [busy]
    with pytest.raises(CloudUnreachable, match=r"was still too busy after 5 s .*; try again later with --resume"):
        connected(served, tmp_path, gateway.url, patience=5.0).open(encode_message(REQUEST), [])
    assert gateway.faults == []
