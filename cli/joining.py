"""`ktl edge train --session`: a run's part in a session of several devices, before it and after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ktl.edge.settings import RunConfig
from ktl.errors import UsageError

if TYPE_CHECKING:
    from ktl.data.fewshot import FewShotTask
    from ktl.edge.network.transport import Access
    from ktl.files import Row


def taking_part(
    config: RunConfig, elsewhere: Access | None, given: dict[str, Any], classes: Path | None
) -> tuple[RunConfig, FewShotTask | None]:
    """The run as the session that it names has it, with its images, which are read for that; else as it is.

    `given`: the settings that options name. Raises UsageError for those that are the session's to say.
    """
    if "data.client" in given and "data.shots" in given:
        raise UsageError("--client and --shots exclude each other: a client learns from all of its images")
    name = config.cloud.session
    if name is None:
        if classes is not None:
            raise UsageError("--classes is for a session of several devices: give --session, or leave it out")
        return config, None
    if elsewhere is None:
        raise UsageError(f"--session {name} is on a cloud elsewhere: give its address by --cloud, without --local-only")
    from ktl.class_agreement import read_class_names
    from ktl.edge.joining import SETTLED, joined
    from ktl.edge.network.named_sessions import find_session
    from ktl.edge.network.transport import Transport
    from ktl.loop.named_session import NamedSession

    for path in given:
        if path in SETTLED or path.startswith("cloud.alignment."):
            option = f"--{path.split('.')[-1].replace('_', '-')}"
            raise UsageError(f"{option} and --session exclude each other: the session says it for all of its devices")
    names = None if classes is None else read_class_names(classes)
    return joined(config, NamedSession.read(find_session(Transport(elsewhere), name)), names)


def session_summary(rows: list[Row]) -> dict[str, Any]:
    """Of a run in a session: how many rounds, the edges of the last, and by edge the rounds in which it was late."""
    late: dict[str, list[int]] = {}
    for row in rows:
        for edge in row["late"]:
            late.setdefault(edge, []).append(row["round"])
    return {"rounds": len(rows), "edges": rows[-1]["edges"], "late": dict(sorted(late.items()))}


def session_line(config: RunConfig, rows: list[Row]) -> str:
    """The same in words, and the noise that this device has added."""
    summary = session_summary(rows)
    late = [f"{edge} in round {', '.join(map(str, rounds))}" for edge, rounds in summary["late"].items()]
    pooled = f"{len(summary['edges'])} devices pooled in the last of {summary['rounds']} rounds"
    line = f"session {config.cloud.session}: {pooled}; late: {'; '.join(late) or 'none'}"
    noise = config.noise
    return line + (f"; with noise of epsilon {noise.epsilon:g}, delta {noise.delta:g}" if noise.epsilon else "")
