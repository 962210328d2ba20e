"""deploy/ray-service.yaml: KubeRay takes its fields, Ray its Serve configuration, and the service its settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="needs the extra ktl[ray]")
jsonschema = pytest.importorskip("jsonschema", reason="needs the extra ktl[ray]")

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads(Path(__file__).with_name("ray_service_schema.json").read_text())


@pytest.fixture(scope="module")
def manifest() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "deploy" / "ray-service.yaml").read_text()))


def pods(manifest: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The container of the head, and of each group of workers."""
    cluster = manifest[0]["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"]["containers"][0] for group in groups]


def serve_config(manifest: list[dict[str, Any]]) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(manifest[0]["spec"]["serveConfigV2"])
    return config


def test_its_fields_are_those_of_a_ray_service(manifest: list[dict[str, Any]]) -> None:
    service, policy = manifest
    jsonschema.validate(service, SCHEMA)
    assert policy["kind"] == "NetworkPolicy"
    assert policy["spec"]["ingress"][-1] == {"ports": [{"port": serve_config(manifest)["http_options"]["port"]}]}


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("spec.serveConfig", "old"),
        ("spec.rayClusterConfig.headGroupSpec.rayStartParams.num-cpus", 0),
        ("spec.rayClusterConfig.rayVersion", "nightly"),
    ],
)
def test_the_schema_refuses_what_kuberay_would(manifest: list[dict[str, Any]], where: str, value: object) -> None:
    wrong = json.loads(json.dumps(manifest[0]))
    *path, last = where.split(".")
    inner = wrong
    for name in path:
        inner = inner[name]
    inner[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_ray_takes_the_serve_configuration(manifest: list[dict[str, Any]]) -> None:
    schema = pytest.importorskip("ray.serve.schema", reason="needs the extra ktl[ray]")
    config = schema.ServeDeploySchema(**serve_config(manifest))
    assert config.http_options.host == "0.0.0.0"
    assert [(each.name, each.route_prefix) for each in config.applications] == [("ktl", "/")]


def test_the_service_takes_the_arguments_in_the_containers_environment(
    manifest: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ktl.cloud.service.settings import load_settings

    dockerfile = (ROOT / "Dockerfile").read_text()
    variables = dict(re.findall(r"(KTL_CLOUD_\w+)=(\S+)", dockerfile))
    for container in pods(manifest):
        assert container["env"] == pods(manifest)[0]["env"]
    for entry in pods(manifest)[0]["env"]:
        variables[entry["name"]] = entry.get("value", "postgresql://ktl@database/ktl")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    [application] = serve_config(manifest)["applications"]
    settings = load_settings({"engine": "ray"} | application["args"])
    assert (settings.engine, settings.generator_replicas, settings.most_generator_replicas) == ("ray", 1, 4)
    largest = max(settings.threads, 1.0)
    assert float(pods(manifest)[1]["resources"]["limits"]["cpu"]) >= largest + 1  # an ingress beside a generator


def test_the_application_is_where_the_manifest_says(manifest: list[dict[str, Any]]) -> None:
    pytest.importorskip("ray.serve", reason="needs the extra ktl[ray]")
    from ktl.ray.application import application

    [told] = serve_config(manifest)["applications"]
    assert told["import_path"] == f"{application.__module__}:{application.__name__}"


def test_every_container_runs_without_privileges(manifest: list[dict[str, Any]]) -> None:
    for container in pods(manifest):
        context = container["securityContext"]
        assert context["runAsNonRoot"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert f"--uid {context['runAsUser']} " in (ROOT / "Dockerfile").read_text()
