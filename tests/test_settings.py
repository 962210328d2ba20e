"""What settings refuse, and how they are described, changed, and kept in files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from ktl.alignment import ALIGNMENTS
from ktl.alignment.published import PublishedAlignment
from ktl.alignment.robust import RobustAlignment
from ktl.cloud.service.settings import Settings as ServiceSettings
from ktl.data.settings import DataConfig, PartitionConfig
from ktl.edge.settings import RunConfig
from ktl.errors import CheckpointError, UsageError
from ktl.federation.settings import FederationConfig
from ktl.generators.diffusion.source import DiffusionSettings
from ktl.generators.training.settings import GeneratorTrainingConfig
from ktl.learning.settings import RECIPES, EdgeConfig, TrainingConfig
from ktl.loop.folder import RunFolder, load_config
from ktl.loop.settings import CloudConfig
from ktl.methods import METHODS
from ktl.methods.feddistill import DistillSettings
from ktl.methods.fedgen import FeatureGeneratorSettings
from ktl.methods.fedgh import GlobalHeadSettings
from ktl.methods.fedkd import CompressionSettings
from ktl.methods.fedproto import MeanSettings
from ktl.methods.fedtgp import TrainablePrototypeSettings
from ktl.methods.fml import MutualSettings
from ktl.objectives import TRANSFERS
from ktl.objectives.image_vector import ContrastSettings
from ktl.objectives.mse import RegressionSettings
from ktl.objectives.settings import TransferSettings
from ktl.registry import Choice
from ktl.settings import (
    Meta,
    Settings,
    as_table,
    describe,
    expected,
    flat,
    from_table,
    help_for,
    named_values,
    setting_at,
    value_of,
    with_values,
)

NAN, INFINITY = float("nan"), float("inf")

# the class, a field, a value that it cannot have, and what is to be given
WRONG: list[tuple[type[Settings], str, Any, str]] = [
    (DataConfig, "shots", 0, "a whole number of at least 1"),
    (DataConfig, "shots", True, "a whole number of at least 1"),
    (DataConfig, "shots", "3", "a whole number of at least 1"),
    (DataConfig, "shots", 2.0, "a whole number of at least 1"),
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
    (TransferSettings, "body_rate", -1.0, "a number of at least 0"),
    (TransferSettings, "anew_each_round", "true", "true or false"),
    (ContrastSettings, "temperature", 0.0, "a number above 0"),
    (ContrastSettings, "embedding_dim", 0, "a whole number of at least 1 and at most 65536"),
    (ContrastSettings, "weight", NAN, "a finite number of at least 0"),
    (RegressionSettings, "weight", -1.0, "a number of at least 0"),
    (RegressionSettings, "joint_batch", -1, "a whole number of at least 0 and at most 1000000"),
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
    (RobustAlignment.Settings, "spread", 1.5, "a number of at least 0 and at most 1"),
    (PublishedAlignment.Settings, "epochs", 1001, "a whole number of at least 1 and at most 1000"),
    (PublishedAlignment.Settings, "batch", 1, "a whole number of at least 2 and at most 1000"),
    (PublishedAlignment.Settings, "learning_rate", 0.0, "a number above 0 and at most 10, or none"),
    (DiffusionSettings, "steps", 1001, "a whole number of at least 1 and at most 1000, or none"),
    (DiffusionSettings, "preset", "fast", "one of published, standard, lcm, turbo, or none"),
    (DiffusionSettings, "guidance", 101.0, "a number of at least 0 and at most 100, or none"),
    (DiffusionSettings, "prompt", None, "text"),
    (GeneratorTrainingConfig, "generator_rate", 1.1, "a number above 0 and at most 1"),
    (GeneratorTrainingConfig, "gamma", -0.1, "a number of at least 0"),
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
        ("data.shots", "3", "data.shots is '3': give a whole number of at least 1"),
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
        ({"cloud.alignment": "perfect"}, "unknown alignment 'perfect': choose one of robust, random, published, or"),
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
        ({"colour": 1}, "'colour' is no setting of RunConfig: choose one of model, rounds, training.scale, "),
        ({"data": {"colour": 1}}, "'data.colour' is no setting of RunConfig: choose one of model, "),
        ({"transfer": {"name": "mse", "colour": 1}}, "'transfer.colour' is no setting of RunConfig"),
        (
            {"transfer": {"name": "mse", "settings": {"temperature": 1.0}}},
            "'temperature' is no setting of RegressionSettings: choose one of warmup_steps, warmup_batch, joint_batch, "
            "weight, learning_rate, body_rate, anew_each_round",
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


def test_values_replace_choices_first_and_then_what_is_set_in_them() -> None:
    changed = with_values(RunConfig(), {"transfer.weight": 2.0, "transfer": "mse", "training.batch": 16})
    assert changed == RunConfig(transfer=TRANSFERS.choose("mse", weight=2.0), training=TrainingConfig(batch=16))
    assert with_values(RunConfig(transfer=None), {"transfer": "mse"}) == RunConfig(transfer="mse")
    assert with_values(RunConfig(), {"transfer": None}) == RunConfig(transfer=None)
    table = {"name": "mse", "settings": {"weight": 3.0}}
    assert with_values(RunConfig(), {"transfer": table}) == RunConfig(transfer=TRANSFERS.choose("mse", weight=3.0))
    assert with_values(RunConfig(), {}) == RunConfig()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("null", None),
        ("none", None),
        ("mse", "mse"),
        ('"3"', "3"),
        ("", ""),
        ("module:Class", "module:Class"),
        ("NaN", "NaN"),
    ],
)
def test_a_text_of_the_command_line_becomes_a_value(text: str, value: Any) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


Count = Annotated[int, Meta(ge=1, description="How many.")]


@dataclass(frozen=True)
class Some(Settings):
    """One of everything."""

    count: Count = 3
    described: Annotated[Count, Meta(description="How many of these.")] = 4
    narrowed: Annotated[Annotated[int, Meta(ge=0)], Meta(le=9, description="A digit.")] | None = None
    optional: Annotated[Count | None, Meta(description="Perhaps.")] = None
    kind: Literal["one", "other"] = "one"
    switch: bool = False
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    file: Path | None = None
    inner: DataConfig = field(default_factory=DataConfig)


@dataclass(frozen=True)
class Fewer(Some):
    """Another default."""

    count: int = 1


def test_a_class_describes_its_fields() -> None:
    assert [(each.name, each.default, each.expected, each.description, each.kind) for each in describe(Some)] == [
        ("count", 3, "a whole number of at least 1", "How many.", int),
        ("described", 4, "a whole number of at least 1", "How many of these.", int),
        ("narrowed", None, "a whole number of at least 0 and at most 9, or none", "A digit.", int),
        ("optional", None, "a whole number of at least 1, or none", "Perhaps.", int),
        ("kind", "one", "one of one, other", "", Literal["one", "other"]),
        ("switch", False, "true or false", "", bool),
        ("share", 0.5, "a number above 0 and below 1", "", float),
        ("file", None, "a path, or none", "", Path),
        ("inner", DataConfig(), "a table of settings", "", DataConfig),
    ]
    assert help_for(Some, "described") == "How many of these."
    assert expected(int) == "a whole number"
    assert expected(float | None) == "a number, or none"


@pytest.mark.parametrize(
    ("name", "value"), [("described", 0), ("narrowed", 10), ("narrowed", -1), ("optional", 0), ("count", 0)]
)
def test_bounds_that_are_said_in_parts_all_hold(name: str, value: int) -> None:
    for kind in (Some, Fewer):  # another default keeps the bounds
        with pytest.raises(UsageError, match=f"{name} is {value}: give a whole number of at least"):
            kind(**{name: value})
    assert Fewer().count == 1


def test_a_setting_is_found_by_its_dotted_name() -> None:
    assert setting_at(RunConfig, "training.batch").default == 32
    assert setting_at(RunConfig, "transfer").expected == "a name, or none"
    for path in ("colour", "data.colour", "colour.shots", "transfer.weight", "rounds.x"):
        with pytest.raises(LookupError):
            setting_at(RunConfig, path)


def test_a_flat_table_has_dotted_names() -> None:
    assert named_values(as_table(RunConfig(transfer=None, seed=3)))["transfer"] is None
    assert named_values(as_table(RunConfig()))["cloud.alignment.spread"] == 0.8
    assert named_values({"a": {"name": "x", "settings": {"b": 1}}, "c": {"d": 2}}) == {"a": "x", "a.b": 1, "c.d": 2}
    assert flat({"a": {"b": {"c": 1}, "d": {}}, "e": None}) == {"a.b.c": 1, "a.d": {}, "e": None}


RUNS: list[Settings] = [
    RunConfig(),
    RunConfig(
        data=DataConfig(source="pictures/of birds", shots=5, ways=7, image_size=64),
        training=RECIPES["published"],
        transfer=TRANSFERS.choose("mse", weight=7.0, anew_each_round=False),
        cloud=CloudConfig(
            "birds.safetensors", ALIGNMENTS.choose("published", epochs=3), pairs_per_class=3, url="https://example.org"
        ),
        rounds=3,
        seed=2**31 - 1,
    ),
    RunConfig(transfer=None, cloud=CloudConfig(alignment=ALIGNMENTS.choose("robust", spread=0.25))),
    RunConfig(transfer="contrastive", training=replace(RECIPES["tuned"], learning_rate=0.1 + 0.2, steps=7)),
    *[FederationConfig(method=name) for name in METHODS.builtin()],
    FederationConfig(
        method=METHODS.choose("fedtgp", weight=0.1, max_margin=3.0, epochs=2, batch=4, learning_rate=1e-5),
        image_size=16,
        partition=PartitionConfig("shots", clients=3, shots=4),
        models="cnn4,resnet4",
        join_ratio=0.3,
        drop_ratio=0.1,
        deadline=1.5,
        patience=2,
        transfer=TRANSFERS.choose("image-vector+contrastive", temperature=0.07, embedding_dim=8, warmup_batch=3),
        cloud=CloudConfig(alignment="random", image_format="png"),
    ),
    GeneratorTrainingConfig(images=1_000, gamma=0.1),
]


@pytest.mark.parametrize("config", RUNS)
def test_settings_survive_in_a_run_folder_exactly(tmp_path: Path, config: Settings) -> None:
    RunFolder(tmp_path / "run").start(config)
    assert load_config(tmp_path / "run", type(config)) == config
    RunFolder(tmp_path / "run").check(config, resume=True)


def test_a_saved_config_shows_every_setting(tmp_path: Path) -> None:
    RunFolder(tmp_path).start(RunConfig())
    assert json.loads((tmp_path / "config.json").read_text()) == {"layout": 2} | as_table(RunConfig())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ('{"seed": 1', "Expecting"),
        ("[]", "it is no table"),
        ("null", "it is no table"),
        ("\x00\x01", "Expecting value"),
        ("[" * 100_000, "recursion"),
        ('{"layout": 3}', "its layout is 3, this ktl reads 1 and 2"),
        ('{"layout": [2]}', "its layout is [2], this ktl reads 1 and 2"),
        ('{"colour": 1}', "'transfer'"),
        ('{"layout": 2, "colour": 1}', "'colour' is no setting of RunConfig"),
        ('{"layout": 2, "data": {"colour": 1}}', "'data.colour' is no setting of RunConfig"),
        ('{"layout": 2, "data": null}', "data is None: give a table of settings"),
        ('{"layout": 2, "rounds": "three"}', "rounds is 'three': give a whole number of at least 1"),
        ('{"layout": 2, "training": {"scale": NaN}}', "training.scale is nan: give a finite number above 0"),
        ('{"layout": 2, "transfer": {"name": "none-such"}}', "unknown transfer 'none-such'"),
        ('{"layout": 2, "cloud": {"download_budget": 20000}, "rounds": 2}', "download_budget is 20000: give at least"),
    ],
)
def test_a_damaged_config_is_refused_by_path(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(CheckpointError) as refused:
        load_config(tmp_path, RunConfig)
    assert str(refused.value).startswith(f"{path} is damaged or from another ktl (")
    assert str(refused.value).endswith("); start the run anew")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_run_and_a_folder_in_place_of_a_config_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as refused:
        load_config(tmp_path, RunConfig)
    assert str(refused.value) == f"there is no run at {tmp_path}: config.json is missing"
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json is damaged or from another ktl"):
        load_config(tmp_path, RunConfig)


def test_the_budget_must_suffice_for_the_rounds() -> None:
    with pytest.raises(UsageError, match="download_budget is 50000: give at least 60,000 bytes"):
        RunConfig(rounds=3, cloud=CloudConfig(download_budget=50_000))


def test_reading_settings_imports_no_torch() -> None:
    modules = "ktl.run_folder, ktl.data.settings, ktl.learning.settings, ktl.loop.settings, ktl.federation.settings, "
    modules += "ktl.registry, ktl.edge.settings, ktl.generators.training.settings, ktl.cloud.service.settings"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == "False\n"
