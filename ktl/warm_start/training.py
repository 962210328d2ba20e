"""An extractor's training on a generator's fresh images: an edge's warm-up, with as many images as one likes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ktl.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from ktl.data.transforms import fit_batch, strong_view
from ktl.errors import Interrupted
from ktl.generators.base import ImageGenerator, sample_latents
from ktl.learning.schedule import Span
from ktl.learning.settings import TrainingConfig
from ktl.learning.stage import MeanLosses, Part, Stage, make_optimizer
from ktl.models.edge_model import build_model
from ktl.models.precision import training_dtype
from ktl.objectives.base import Step
from ktl.objectives.image_vector import ContrastSettings, ImageVectorContrast
from ktl.pairs import ImageVectorPairs, concatenate
from ktl.seeds import initialising, stream
from ktl.spaces.base import SharedSpace
from ktl.warm_start.settings import IMAGES, Architecture, WarmStartConfig

DRAWN_AT_ONCE = 128  # images
CPU = torch.device("cpu")


class WarmStartTraining:
    """Image-vector contrast on chunk after chunk of fresh images, each of them shown `config.passes` times.

    The weights after k steps are a function of (architecture, generator, space, config, k), to the bit on one machine
    with one number of threads: a training that was stopped goes on as if it had not been.
    """

    def __init__(
        self,
        wanted: Architecture,
        generator: ImageGenerator,
        space: SharedSpace,
        config: WarmStartConfig,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Draws the first chunk. Raises Interrupted after `should_stop()`."""
        self.config = config
        self.images = config.images or IMAGES
        self.generator = generator
        self.space = space
        self.wanted = wanted
        self.should_stop = should_stop
        self.step = 0
        # a model has a classifier too; it is not trained
        self.model = build_model(
            wanted.model,
            channels=wanted.channels,
            image_size=wanted.image_size,
            classes=2,
            seed=config.seed,
            etf_seed=config.seed,
        )
        self.model.to(memory_format=torch.channels_last)
        self._chunk, self._pairs = 0, self._drawn(0)
        with initialising(config.seed, "transfer"):
            self.objective = ImageVectorContrast.on(self._pairs, self.model.classifier.feature_dim, ContrastSettings())
        trained = [*self.model.extractor.parameters(), *self.objective.parameters()]
        self._recipe = TrainingConfig()
        optimizer = make_optimizer(self._recipe, [(trained, config.learning_rate)])
        self._stage = Stage([Part("pair_loss", [self.objective])], [optimizer], config.batch)
        self._dtype = training_dtype("auto", CPU)

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self._steps_a_chunk * self._chunks

    def train(self, on_step: Callable[[int, float], None]) -> None:
        """Does the steps that are left; `on_step` gets the number done and the last loss. Raises Interrupted."""
        span = Span("warm start", self.steps, 0, self.steps)
        losses = MeanLosses()
        while self.step < self.steps:
            self._check_stop()
            chunk = self.step // self._steps_a_chunk
            if chunk != self._chunk:
                self._chunk, self._pairs = chunk, self._drawn(chunk)
            self._stage.set_rate(self._recipe.schedule, span, self.step)
            loss = self._stage.descend(self._next(), losses, self._recipe.gradient_norm)
            self.step += 1
            on_step(self.step, loss)

    def state(self) -> dict[str, Tensor]:
        """Everything that training goes on from, by name."""
        return (
            prefixed("extractor", self.model.extractor.state_dict())
            | prefixed("objective", self.objective.state_dict())
            | prefixed("optimizer", optimizer_tensors(self._stage.optimizers[0]))
            | {"step": torch.tensor(self.step)}
        )

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned, to the same bits."""
        self.model.extractor.load_state_dict(under("extractor", state))
        self.objective.load_state_dict(under("objective", state))
        restore_optimizer(self._stage.optimizers[0], under("optimizer", state))
        self.step = int(state["step"])

    @property
    def _chunks(self) -> int:
        return math.ceil(self.images / self.config.chunk)

    @property
    def _steps_a_chunk(self) -> int:
        config = self.config
        return max(config.passes * min(config.chunk, self.images) // config.batch, 1)

    def _next(self) -> Step:
        rng = stream(self.config.seed, "warm start", self.step)

        def draw_pairs(views: int) -> tuple[list[Tensor], Tensor]:
            index = torch.randperm(len(self._pairs), generator=rng)[: self.config.batch]
            images = [strong_view(self._pairs.images[index], rng) for _ in range(views)]
            return [each.to(memory_format=torch.channels_last) for each in images], self._pairs.vectors[index]

        def draw_shots() -> tuple[Tensor, Tensor]:
            raise LookupError("a warm start has no labelled images")

        return Step(self.model, rng, self._dtype, draw_shots, draw_pairs, keeps_statistics=False)

    def _check_stop(self) -> None:
        if self.should_stop():
            raise Interrupted(f"stopped after {self.step} of {self.steps} steps of a warm start")

    @torch.no_grad()
    def _drawn(self, chunk: int) -> ImageVectorPairs:
        """Fresh images of one chunk; the last one may be smaller. Raises Interrupted."""
        left = self.images - chunk * self.config.chunk
        rng = stream(self.config.seed, "warm start images", chunk)
        latents = sample_latents(self.generator, min(self.config.chunk, left), rng)
        parts = []
        for batch in latents.split(DRAWN_AT_ONCE):
            self._check_stop()
            drawn = self.generator.images(batch)
            images = fit_batch(drawn, self.wanted.image_size, self.wanted.channels)
            classes = torch.zeros(len(batch), dtype=torch.int64)
            parts.append(ImageVectorPairs(images, self.space.vectors(batch, drawn), classes, self.space.metric))
        return concatenate(parts)
