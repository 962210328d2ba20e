"""What settings refuse where they are made, in files, and by dotted names; and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ktl.alignment.published import PublishedAlignment
from ktl.alignment.robust import RobustAlignment
from ktl.cloud.service.settings import Settings as ServiceSettings
from ktl.data.settings import DataConfig, PartitionConfig
from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.federation.settings import FederationConfig
from ktl.generators.diffusion.source import DiffusionSettings
from ktl.generators.training.settings import RelativisticConfig
from ktl.learning.settings import EdgeConfig, TrainingConfig
from ktl.loop.settings import CloudConfig
from ktl.methods.feddistill import DistillSettings
from ktl.methods.fedgen import FeatureGeneratorSettings
from ktl.methods.fedgh import GlobalHeadSettings
from ktl.methods.fedkd import CompressionSettings
from ktl.methods.fedl2g import FeatureGuidanceSettings, GuidanceSettings
from ktl.methods.fedproto import MeanSettings
from ktl.methods.fedtgp import TrainablePrototypeSettings
from ktl.methods.fml import MutualSettings
from ktl.objectives.image_vector import ContrastSettings
from ktl.objectives.mse import RegressionSettings
from ktl.objectives.settings import TransferSettings
from ktl.registry import Choice
from ktl.settings import Settings, as_table, from_table, with_values

NAN, INFINITY = float("nan"), float("inf")

# the class, a field, a value that it cannot have, and what is to be given
WRONG: list[tuple[type[Settings], str, Any, str]] = [
    (DataConfig, "shots", 0, "a whole number of at least 1, 'all' or 'up to 20'"),
    (DataConfig, "shots", -1, "a whole number of at least 1, 'all' or 'up to 20'"),
    (DataConfig, "shots", "up to", "a whole number of at least 1, 'all' or 'up to 20'"),
    (DataConfig, "shots", 2.0, "a number or text"),
    (DataConfig, "ways", 1, "a whole number of at least 2, or none"),
    (DataConfig, "source", None, "text"),
    (DataConfig, "source", Path("birds"), "text"),
    (PartitionConfig, "kind", "even", "one of dirichlet, pathological, iid, shots"),
    (PartitionConfig, "beta", -0.1, "a number above 0"),
    (PartitionConfig, "beta", NAN, "a finite number above 0"),
    (PartitionConfig, "clients", 0, "a whole number of at least 1"),
    (TrainingConfig, "optimizer", "adam", "one of adamw, sgd"),
    (TrainingConfig, "optimizer", None, "one of adamw, sgd"),
    (TrainingConfig, "schedule", "cosine", "one of one-cycle, constant"),
    (TrainingConfig, "learning_rate", -1e-3, "a number of at least 0"),
    (TrainingConfig, "learning_rate", True, "a number of at least 0"),
    (TrainingConfig, "learning_rate", "fast", "a number of at least 0"),
    (TrainingConfig, "weight_decay", INFINITY, "a finite number of at least 0"),
    (TrainingConfig, "gradient_norm", 0.0, "a number above 0"),
    (TrainingConfig, "batch", 0, "a whole number of at least 1"),
    (TrainingConfig, "steps", 0, "a whole number of at least 1 and at most 1000000000, or none"),
    (TrainingConfig, "augment", 1, "true or false"),
    (TrainingConfig, "augment", "yes", "true or false"),
    (TrainingConfig, "scale", 0.0, "a number above 0"),
    (TrainingConfig, "margin", 3.2, "a number of at least 0 and below 3.15"),
    (TrainingConfig, "smoothing", 1.0, "a number of at least 0 and below 1"),
    (EdgeConfig, "rounds", 0, "a whole number of at least 1 and at most 100000"),
    (EdgeConfig, "seed", 2**31, "a whole number of at least 0 and below 2147483648"),
    (EdgeConfig, "seed", -1, "a whole number of at least 0 and below 2147483648"),
    (EdgeConfig, "precision", "float16", "one of auto, bfloat16, float32"),
    (EdgeConfig, "threads", 0, "a whole number of at least 1 and at most 1024"),
    (EdgeConfig, "device", "gpu", "one of cpu, cuda, mps"),
    (EdgeConfig, "model", 4, "text"),
    (EdgeConfig, "transfer", 5, "a name, or none"),
    (EdgeConfig, "training", None, "an instance of TrainingConfig"),
    (RunConfig, "data", {"shots": 2}, "an instance of DataConfig"),
    (RunConfig, "cloud", None, "an instance of CloudConfig"),
    (CloudConfig, "generator", None, "a name"),
    (CloudConfig, "alignment", 1, "a name"),
    (CloudConfig, "pairs_per_class", 1001, "a whole number of at least 1 and at most 1000, or none"),
    (CloudConfig, "download_budget", 19_999, "a whole number of at least 20000"),
    (CloudConfig, "image_format", "jpeg", "one of webp, png"),
    (CloudConfig, "url", 8765, "text, or none"),
    (FederationConfig, "method", None, "a name"),
    (FederationConfig, "transfer", None, "a name"),
    (FederationConfig, "image_size", 2, "a whole number of at least 4 and at most 4096, or none"),
    (FederationConfig, "join_ratio", 0.0, "a number above 0 and at most 1"),
    (FederationConfig, "drop_ratio", 1.0, "a number of at least 0 and below 1"),
    (FederationConfig, "deadline", 0.0, "a number above 0, or none"),
    (FederationConfig, "deadline", INFINITY, "a finite number above 0, or none"),
    (FederationConfig, "patience", 0, "a whole number of at least 1, or none"),
    (FederationConfig, "device", "tpu:0", "one of cpu, cuda, mps"),
    (TransferSettings, "warmup_steps", -1, "a whole number of at least 0 and at most 10000000, or none"),
    (TransferSettings, "warmup_batch", 0, "a whole number of at least 1 and at most 1000000, or none"),
    (TransferSettings, "body_rate", -1.0, "a number of at least 0, or none"),
    (TransferSettings, "anew_each_round", "true", "true or false"),
    (ContrastSettings, "temperature", 0.0, "a number above 0"),
    (ContrastSettings, "embedding_dim", 0, "a whole number of at least 1 and at most 65536"),
    (ContrastSettings, "weight", NAN, "a finite number of at least 0"),
    (RegressionSettings, "weight", -1.0, "a number of at least 0"),
    (RegressionSettings, "joint_batch", -1, "a whole number of at least 0 and at most 1000000, or none"),
    (FeatureGeneratorSettings, "noise_dim", 0, "a whole number of at least 1 and at most 65536"),
    (FeatureGeneratorSettings, "steps", 0, "a whole number of at least 1"),
    (GlobalHeadSettings, "learning_rate", 0.0, "a number above 0"),
    (CompressionSettings, "first_energy", 1.1, "a number above 0 and at most 1"),
    (CompressionSettings, "last_energy", 0.0, "a number above 0 and at most 1"),
    (MeanSettings, "weight", -1.0, "a number of at least 0"),
    (DistillSettings, "weight", -1.0, "a number of at least 0"),
    (TrainablePrototypeSettings, "max_margin", -1.0, "a number of at least 0"),
    (TrainablePrototypeSettings, "epochs", 0, "a whole number of at least 1"),
    (MutualSettings, "alpha", 1.5, "a number of at least 0 and at most 1"),
    (MutualSettings, "beta", -0.5, "a number of at least 0 and at most 1"),
    (GuidanceSettings, "pseudo_rate", 0.0, "a number above 0"),
    (GuidanceSettings, "warm_up_rounds", -1, "a whole number of at least 0"),
    (FeatureGuidanceSettings, "learning_rate", 0.0, "a number above 0"),
    (RobustAlignment.Settings, "spread", 1.5, "a number of at least 0 and at most 1"),
    (PublishedAlignment.Settings, "epochs", 1001, "a whole number of at least 1 and at most 1000"),
    (PublishedAlignment.Settings, "batch", 1, "a whole number of at least 2 and at most 1000"),
    (PublishedAlignment.Settings, "learning_rate", 0.0, "a number above 0 and at most 10, or none"),
    (DiffusionSettings, "steps", 1001, "a whole number of at least 1 and at most 1000, or none"),
    (DiffusionSettings, "preset", "fast", "one of published, standard, lcm, turbo, or none"),
    (DiffusionSettings, "guidance", 101.0, "a number of at least 0 and at most 100, or none"),
    (DiffusionSettings, "prompt", None, "text"),
    (RelativisticConfig, "generator_rate", 1.1, "a number above 0 and at most 1"),
    (RelativisticConfig, "gamma", -0.1, "a number of at least 0"),
    (ServiceSettings, "port", 65_536, "a whole number of at least 0 and at most 65535"),
    (ServiceSettings, "jobs", 0, "a whole number of at least 1 and at most 64"),
    (ServiceSettings, "rate", 0.0, "a number above 0"),
    (ServiceSettings, "tls_cert", "cert.pem", "an instance of Path"),
]


def named(value: Any) -> str:
    return value.__qualname__ if isinstance(value, type) else str(value)


@pytest.mark.parametrize(("kind", "name", "value", "wanted"), WRONG, ids=named)
def test_a_wrong_value_is_refused_where_it_is_given(kind: type[Settings], name: str, value: Any, wanted: str) -> None:
    with pytest.raises(UsageError) as refused:
        kind(**{name: value})
    assert str(refused.value) == f"{name} is {value!r}: give {wanted}"


FLAT = [case for case in WRONG if case[0] in (DataConfig, TrainingConfig, ContrastSettings, MutualSettings)]


@pytest.mark.parametrize(("kind", "name", "value", "wanted"), FLAT, ids=named)
def test_a_file_with_a_wrong_value_is_refused_alike(kind: type[Settings], name: str, value: Any, wanted: str) -> None:
    with pytest.raises(UsageError) as refused:
        from_table(kind, as_table(kind()) | {name: value})
    assert str(refused.value) == f"{name} is {value!r}: give {wanted}"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training.batch", 0, "training.batch is 0: give a whole number of at least 1"),
        ("training.batch", {"a": 3}, "training.batch is {'a': 3}: give a whole number of at least 1"),
        ("training.gradient_norm", INFINITY, "gradient_norm is inf: give a finite number above 0"),
        ("training", 3, "training is 3: give a table of settings"),
        ("data", None, "data is None: give a table of settings"),
        ("data.shots", 2.5, "data.shots is 2.5: give a number or text"),
        ("data.shots", "3 or so", "shots is '3 or so': give a whole number of at least 1, 'all' or 'up to 20'"),
        ("cloud.image_format", "jpeg", "cloud.image_format is 'jpeg': give one of webp, png"),
        ("cloud.generator", 5, "cloud.generator is 5: give a name"),
        ("transfer", 5, "transfer is 5: give a name, or none"),
        ("transfer", {"name": 5}, "transfer.name is 5: give a name, or none"),
        ("transfer", {"name": "mse", "settings": 5}, "transfer 'mse' has settings of int: give RegressionSettings"),
        ("transfer.weight", -1, "weight is -1: give a number of at least 0"),
        ("transfer.temperature", "hot", "temperature is 'hot': give a number above 0"),
        ("rounds", 200_000, "rounds is 200000: give a whole number of at least 1 and at most 100000"),
    ],
)
def test_a_wrong_value_under_a_dotted_name_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        with_values(RunConfig(), {path: value})
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"transfer": "none-such"}, "unknown transfer 'none-such': choose one of image-vector, contrastive, "),
        (
            {"cloud.alignment": "perfect"},
            "unknown alignment 'perfect': choose one of robust, pooled, random, ",
        ),
        ({"model": "cnn5"}, "unknown model 'cnn5': choose one of cnn4, "),
    ],
)
def test_an_unknown_choice_is_refused_with_the_choices(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        with_values(RunConfig(), values)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"colour": 1}, "'colour' is no setting of RunConfig: choose one of model, weights, rounds, training.scale, "),
        ({"data": {"colour": 1}}, "'data.colour' is no setting of RunConfig: choose one of model, "),
        ({"transfer": {"name": "mse", "colour": 1}}, "'transfer.colour' is no setting of RunConfig"),
        (
            {"transfer": {"name": "mse", "settings": {"temperature": 1.0}}},
            "'temperature' is no setting of RegressionSettings: choose one of warmup_steps, warmup_batch, joint_batch, "
            "weight, learning_rate, body_rate, warm_started_steps, anew_each_round",
        ),
        (
            {"cloud": {"alignment": {"name": "random", "settings": {"spread": 1.0}}}},
            "'spread' is no setting of NoSettings: it has nothing to set",
        ),
    ],
)
def test_an_unknown_name_in_a_table_is_refused_with_the_known_ones(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        from_table(RunConfig, table)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    "path", ["colour", "training.colour", "training.batch.colour", "transfer.name", "transfer.settings.weight", ""]
)
def test_an_unknown_dotted_name_is_refused_with_those_that_can_be_given(path: str) -> None:
    with pytest.raises(UsageError) as refused:
        with_values(RunConfig(), {path: 1})
    known = str(refused.value).removeprefix(f"there is no setting {path}: choose one of ").split(", ")
    assert {"data.source", "training.batch", "transfer", "transfer.temperature", "cloud.alignment.spread"} < set(known)
    for name in known:  # all of them can: each is given what it has already
        value: Any = RunConfig()
        for part in name.split("."):
            value = value.settings if isinstance(value, Choice) else value
            value = getattr(value, part)
        value = value.name if isinstance(value, Choice) else value
        assert with_values(RunConfig(), {name: value}) == RunConfig()


def test_the_budget_must_suffice_for_the_rounds() -> None:
    with pytest.raises(UsageError, match="download_budget is 50000: give at least 60,000 bytes"):
        RunConfig(rounds=3, cloud=CloudConfig(download_budget=50_000))
