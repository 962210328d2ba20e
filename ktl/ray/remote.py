"""A generator and a space elsewhere: whoever asks waits for a replica, and asks another one when it dies."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.handle import DeploymentHandle
from torch import Tensor

from ktl.spaces.base import SharedSpace

TRIES = 5  # an order that has taken so many replicas down is not given to another

log = logging.getLogger("ktl.cloud")


class RemoteGenerator:
    """A `ServedGenerator` whose images the replicas draw. To be asked by threads, not by the event loop's own."""

    name: str
    family: str
    licence: str
    fingerprint: str
    noise_dim: int
    latent_dim: int
    image_size: int
    parameters: int
    members: Tensor | None

    def __init__(self, replicas: DeploymentHandle[Any], about: Mapping[str, Any]) -> None:
        """`about` is what a replica's `about` says."""
        self.replicas = replicas
        for name in RemoteGenerator.__annotations__:
            setattr(self, name, about[name])

    def latents(self, noise: Tensor) -> Tensor:
        """As the generator does."""
        return asked(self.replicas, "latents", noise)

    def images(self, latents: Tensor) -> Tensor:
        """As the generator does, by one replica, in one batch with what others want drawn at the same time."""
        return asked(self.replicas, "images", latents)

    def alive(self) -> bool:
        """Ray starts a replica anew that dies; meanwhile draws wait."""
        return True

    def close(self) -> None:
        """The replicas are Ray's to stop."""


class RemoteSpace(SharedSpace):
    """A space whose vectors are of images: the replicas hold its encoder."""

    def __init__(self, generator: RemoteGenerator, about: Mapping[str, Any]) -> None:
        """`about` is the `space` of what a replica's `about` says."""
        super().__init__(generator)
        self.replicas = generator.replicas
        self.name, self.dimension = about["name"], about["dimension"]
        self.metric, self.fingerprint = about["metric"], about["fingerprint"]

    def vectors(self, latents: Tensor, images: Tensor) -> Tensor:
        """As the space does."""
        return asked(self.replicas, "vectors", latents, images)


def asked(replicas: DeploymentHandle[Any], what: str, *tensors: Tensor) -> Tensor:
    """What a replica's method of that name returns, asked again when the replica dies.

    Raises what the method raises, and RayActorError when `TRIES` replicas died of it.
    """
    for _ in range(TRIES - 1):
        try:
            return _answer(replicas, what, tensors)
        except RayActorError as error:
            log.warning("a generator replica died", extra={"reason": str(error).splitlines()[0]})
    return _answer(replicas, what, tensors)


def _answer(replicas: DeploymentHandle[Any], what: str, tensors: tuple[Tensor, ...]) -> Tensor:
    try:
        answer: Tensor = getattr(replicas, what).remote(*tensors).result()
    except RayTaskError as error:
        raise error.cause from None  # its own text would be the replica's traceback
    return answer
