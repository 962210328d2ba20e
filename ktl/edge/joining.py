"""A run's settings and images in a session of several edges: what the session says, and classes that all agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ktl.class_agreement import is_agreed
from ktl.data.fewshot import FewShotTask
from ktl.edge.edge_run import whole_budget
from ktl.edge.settings import RunConfig
from ktl.edge.task import draw, settled
from ktl.errors import UsageError
from ktl.loop.named_session import NamedSession
from ktl.settings import with_values

SETTLED = (  # by the session, for all of its edges
    *("rounds", "seed", "data.ways", "data.image_size"),
    *("cloud.alignment", "cloud.pairs_per_class", "cloud.download_budget", "cloud.image_format", "cloud.memory"),
)


def joined(config: RunConfig, session: NamedSession, names: Sequence[str] | None) -> tuple[RunConfig, FewShotTask]:
    """`config` as it is in a session, with its images; `names`: all classes, where the images may be of some only.

    Raises UsageError for a session that is not for edges like this one, or images of other classes, size or channels;
    DataError as `draw` does.
    """
    if session.rounds is None or session.classes is None:
        raise UsageError(
            f"the session {session.name!r} does not say how many rounds it has and what classes: "
            "create it with `ktl cloud session create`"
        )
    config = with_values(config, _terms(session, session.rounds, names))
    task = draw(config)
    if not is_agreed(task.class_names, session.classes):
        raise UsageError(_other_classes(session, task, names))
    channels, size = task.shot_images.shape[1:3]
    if (channels, size) != (session.request.channels, session.request.image_size):
        raise UsageError(
            f"the session {session.name!r} is for images of {session.request.image_size} pixels and "
            f"{session.request.channels} channels, and {config.data.source} has {size} and {channels}"
        )
    return _warm_started(settled(_without_auto(config, session, task), task), session), task


def _terms(session: NamedSession, rounds: int, names: Sequence[str] | None) -> dict[str, Any]:
    asked = session.request
    alignment = {f"cloud.alignment.{name}": value for name, value in asked.alignment_settings.items()}
    return {
        "rounds": rounds,
        "seed": asked.seed,
        "data.image_size": asked.image_size,
        "data.classes": names and tuple(names),
        "cloud.session": session.name,
        "cloud.alignment": asked.alignment,
        "cloud.pairs_per_class": asked.pairs_per_class,
        "cloud.image_format": asked.image_format,
        "cloud.memory": asked.memory,
        "cloud.download_budget": rounds * asked.download_bytes,
        **alignment,
    }


def _other_classes(session: NamedSession, task: FewShotTask, names: Sequence[str] | None) -> str:
    count = session.request.num_classes
    if names is not None:
        return (
            f"--classes has {len(names)} names, and the session {session.name!r} is for {count} classes with other "
            "names or in another order: give the file that it was created with"
        )
    own = f"{', '.join(task.class_names[:5])}{', ...' if len(task.class_names) > 5 else ''}"
    return (
        f"this data's classes ({own}) are not the {count} of the session {session.name!r}, or not in its order: "
        "give the file of names that it was created with by --classes"
    )


def _without_auto(config: RunConfig, session: NamedSession, task: FewShotTask) -> RunConfig:
    """`auto` is a warm start from the cloud where the session has asked for one of this model."""
    if config.warm_start != "auto":
        return config
    model = settled(replace(config, warm_start="edge"), task).model
    return replace(config, warm_start="cloud" if model in session.request.warm_starts else "edge")


def _warm_started(config: RunConfig, session: NamedSession) -> RunConfig:
    if config.warm_start == "cloud" and config.model not in session.request.warm_starts:
        offered = ", ".join(session.request.warm_starts) or "none"
        raise UsageError(
            f"the session {session.name!r} has no warm start of {config.model}, but of: {offered}; "
            "leave --warm-start out, or give one of these by --model"
        )
    asked = session.request
    budget = whole_budget(config, asked.download_bytes, asked.channels, asked.image_size)
    return replace(config, cloud=replace(config.cloud, download_budget=budget))
