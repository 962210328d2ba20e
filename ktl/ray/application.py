"""The Ray Serve application: servers that share a database, in front of replicas that draw."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve import Application

from ktl.cloud.service.connections import RESERVED
from ktl.cloud.service.settings import Settings, load_settings
from ktl.ray.ingress import GENERATOR, Ingress, IngressReplica
from ktl.ray.replicas import ORDERS, GeneratorReplica

INGRESS_CPUS = 1.0
QUIET = {"log_level": "WARNING", "enable_access_log": False}  # of Ray Serve: the service has its own log lines


def application(arguments: dict[str, Any]) -> Application:
    """For `import_path: ktl.ray.application:application`: settings from its `args`, then from `KTL_CLOUD_*`.

    Raises UsageError for those that cannot work.
    """
    return application_of(load_settings({"engine": "ray"} | arguments))


def application_of(settings: Settings) -> Application:
    """Two deployments: `generator`, and `ingress` as a `ktl cloud serve` that leaves the drawing to it."""
    most = settings.most_generator_replicas or settings.generator_replicas
    generator = serve.deployment(
        name=GENERATOR,
        max_ongoing_requests=2 * ORDERS,  # one batch is drawn while the next one gathers
        autoscaling_config={
            "min_replicas": settings.generator_replicas,
            "max_replicas": most,
            "target_ongoing_requests": ORDERS / 2,
        },
        logging_config=QUIET,
        ray_actor_options={"num_cpus": settings.threads, "num_gpus": settings.generator_gpus},
    )(GeneratorReplica)
    ingress = serve.deployment(
        name="ingress",
        num_replicas=settings.ingress_replicas,
        max_ongoing_requests=settings.connections,
        max_queued_requests=RESERVED,  # beyond it the proxy says 503
        logging_config=QUIET,
        ray_actor_options={"num_cpus": INGRESS_CPUS},
        graceful_shutdown_timeout_s=settings.stop_seconds,
    )(serve.ingress(Ingress(settings))(IngressReplica))
    return ingress.bind(generator.bind(settings))


def cpus_needed(settings: Settings) -> float:
    """Cores that Ray has to count for all replicas to be placed at once."""
    most = settings.most_generator_replicas or settings.generator_replicas
    return most * settings.threads + settings.ingress_replicas * INGRESS_CPUS
