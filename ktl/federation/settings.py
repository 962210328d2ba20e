"""N edges and one cloud, whole."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from ktl.alignment import ALIGNMENTS
from ktl.data.settings import HowToFit, PartitionConfig, SkipDamaged
from ktl.errors import UsageError
from ktl.learning.settings import EdgeConfig, TrainingConfig, WarmStart, check_device
from ktl.loop.settings import MIN_DOWNLOAD, CloudConfig
from ktl.methods import METHODS
from ktl.models import MODELS, model_group
from ktl.models.shipped import shipped_extractor
from ktl.objectives import TRANSFERS
from ktl.registry import Choice, chosen
from ktl.settings import Meta, Settings


@dataclass(frozen=True)
class FederationConfig(Settings):
    """Who learns what, and how; `method`, `transfer` and the cloud's choices may be given by their names alone."""

    method: Choice | str = "fedktl"
    source: str = "fashion-mnist"
    image_size: Annotated[int, Meta(ge=4, le=4096, description="Pixels, square.")] | None = None
    skip_damaged: SkipDamaged = False
    fit: HowToFit = "crop"
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    models: str = "cnn4"  # a group or a list: client i takes the model i mod its length
    classifier: Annotated[
        Literal["own", "etf", "linear"], Meta(description="Classifier of all clients; own: each method's own.")
    ] = "own"
    rounds: Annotated[int, Meta(ge=1, le=100_000, description="How often all clients train and exchange.")] = 10
    join_ratio: Annotated[float, Meta(gt=0, le=1, description="Share of clients that take part in a round.")] = 1.0
    drop_ratio: Annotated[float, Meta(ge=0, lt=1, description="Share of those that fail, drawn by seed.")] = 0.0
    deadline: Annotated[float, Meta(gt=0, description="Seconds a client may train in a round.")] | None = None
    patience: Annotated[int, Meta(ge=1, description="Stop after this many rounds without a better mean.")] | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    transfer: Choice | str = "image-vector"  # of methods whose edges learn from pairs
    warm_start: WarmStart = "auto"  # of methods whose edges learn from pairs
    cloud: CloudConfig = field(default_factory=lambda: CloudConfig(alignment="pooled"))
    download_budget: Annotated[
        int, Meta(ge=MIN_DOWNLOAD, description="Bytes per round and client, in place of the cloud's.")
    ] = 143_000  # a tenth of the published scheme's
    secure_aggregation: Annotated[
        bool, Meta(description="Let the cloud learn sums of class statistics alone: FedKTL over Flower.")
    ] = False
    seed: Annotated[int, Meta(ge=0, lt=2**31, description="Seed of every random choice.")] = 0
    device: str = "cpu"
    precision: Annotated[
        Literal["auto", "bfloat16", "float32"], Meta(description="Of the extractors' arithmetic in training.")
    ] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "method", METHODS.resolve(self.method))
        METHODS.load(chosen(self.method).name).classifier_named(self.classifier)  # raises where it has none
        object.__setattr__(self, "transfer", TRANSFERS.resolve(self.transfer))
        model_group(self.models)
        if self.secure_aggregation:
            self._check_sums()
            # a sum does not say who is in it, so that of an earlier round cannot be taken out or counted again
            object.__setattr__(self, "cloud", replace(self.cloud, memory=1))
        check_device(self.device)

    def _check_sums(self) -> None:
        """Raises UsageError where clients would send anything but sums, and their classes' counts."""
        method, alignment = chosen(self.method).name, chosen(self.cloud.alignment).name
        if method != "fedktl":
            raise UsageError(f"secure_aggregation adds up what fedktl pools, not {method}: give --method fedktl")
        if ALIGNMENTS.load(alignment).reads_prototypes:
            raise UsageError(f"alignment {alignment} reads each client's prototypes, which are no sums: give pooled")

    @property
    def warm_started(self) -> list[str]:
        """The models of clients that begin with the cloud's extractor: ktl's own, where the method uses pairs."""
        if self.warm_start != "cloud" or not METHODS.load(chosen(self.method).name).uses_pairs:
            return []
        return [model for model in dict.fromkeys(model_group(self.models)) if model in MODELS.builtin()]

    def settled(self, channels: int, image_size: int) -> FederationConfig:
        """This, with what it left to the data: `auto` is the cloud where extractors of all of ktl's own models ship.

        So either all of their clients begin with one, or none, and nothing has to be trained first.
        """
        if self.warm_start != "auto":
            return self
        by_cloud = replace(self, warm_start="cloud")
        ship = [shipped_extractor(model, channels, image_size) is not None for model in by_cloud.warm_started]
        return by_cloud if ship and all(ship) else replace(self, warm_start="edge")

    def edge(self, model: str, training: TrainingConfig, *, uses_pairs: bool) -> EdgeConfig:
        """What one client's learner is made of."""
        return EdgeConfig(
            model=model,
            rounds=self.rounds,
            training=training,
            transfer=chosen(self.transfer) if uses_pairs else None,
            warm_start="cloud" if model in self.warm_started else "edge",
            seed=self.seed,
            device=self.device,
            precision=self.precision,
            threads=1,
        )


def federated_transfer(name: str = "image-vector") -> Choice:
    """What `ktl federate` and its benchmarks let edges learn from pairs by: the contrasts with a short warm-up."""
    transfer = TRANSFERS.choose(name)
    if transfer.settings.warmup_steps is None:
        return replace(transfer, settings=replace(transfer.settings, warmup_steps=200))
    return transfer
