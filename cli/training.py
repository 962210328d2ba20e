"""What `ktl edge train` does: a run beside its twin without a cloud, shown while it goes on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ktl.edge.settings import RunConfig
from ktl.errors import CloudUnreachable
from ktl.registry import chosen

from .connection import session_ending_with
from .console import Stop, errors, stop_on_signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktl.data.fewshot import FewShotTask
    from ktl.edge.compare import Comparison
    from ktl.edge.network.transport import Access
    from ktl.edge.run import RunResult
    from ktl.edge.tracking import Tracker
    from ktl.learning.pace import Timekeeper
    from ktl.loop.connection import CloudConnection
    from ktl.loop.rounds import Observer

    from .progress import RunProgress


class Training:
    """A run beside its twin without a cloud, shown while it goes on."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        task: FewShotTask | None,
        elsewhere: Access | None,
        timekeeper: Timekeeper[RunConfig] | None,
        *,
        resume: bool,
        quiet: bool,
    ) -> None:
        self.timekeeper = timekeeper
        self.task = task  # None: not read yet
        self.config = config
        self.folder = folder
        self.elsewhere = elsewhere
        self.resume = resume
        self.quiet = quiet

    def run(self, *, offline_ok: bool, keep_session: bool, tensorboard: bool) -> tuple[RunResult, Comparison | None]:
        """The run's result, and the comparison with its twin if a cloud helped."""
        from ktl.edge.run import train_edge
        from ktl.edge.tracking import tracked

        from .progress import RunProgress

        config = self.config
        board, local_board = _boards(self.folder, tensorboard)
        comparison: Comparison | None = None
        with stop_on_signal() as stop, RunProgress(self.timekeeper, quiet=self.quiet) as progress:
            local = tracked(progress.observer("local only", 1, stop), local_board, config)
            if config.transfer is None:
                result = train_edge(
                    config,
                    self.folder,
                    task=self.task,
                    resume=self.resume,
                    observer=local,
                    timekeeper=self.timekeeper,
                )
            else:
                observer = tracked(progress.observer("KTL", config.rounds, stop), board, config)
                try:
                    cloud = self._cloud(progress, stop)
                    comparison = self._beside_local(cloud, observer, local, keep_session)
                    result = comparison.ktl
                except CloudUnreachable as error:
                    if not offline_ok:
                        raise
                    result = self._offline(error, local)
        for tracker in [*board, *local_board]:
            tracker.finished(result)
        return result, comparison

    def _cloud(self, progress: RunProgress, stop: Stop) -> CloudConnection:
        if self.elsewhere is not None:
            return self._cloud_elsewhere(self.elsewhere, stop, progress.waiting)
        from ktl.cloud.embedded import embedded_cloud
        from ktl.warm_start.settings import WarmStartConfig

        cloud = self.config.cloud
        return embedded_cloud(
            chosen(cloud.generator),
            chosen(cloud.space) if cloud.space else None,
            WarmStartConfig(images=cloud.warm_start_images),
            on_step=progress.steps("cloud's warm start"),
            should_stop=stop.is_set,
        )

    def _cloud_elsewhere(self, elsewhere: Access, stop: Stop, on_wait: Callable[[str], None]) -> CloudConnection:
        from ktl.edge.network.http import HttpCloud
        from ktl.edge.network.joined import JoinedSession

        words = f"stopped while it waited; go on with: ktl edge train --resume {self.folder}"
        stoppable, session = partial(stop.at_once, words), self.config.cloud.session
        if session is None:
            return HttpCloud(elsewhere, self.folder, stoppable=stoppable)
        return JoinedSession(elsewhere, session, self.folder, on_wait=on_wait, stoppable=stoppable)

    def _beside_local(
        self, cloud: CloudConnection, observer: Observer, local: Observer, keep_session: bool
    ) -> Comparison:
        from ktl.edge.compare import train_beside_local
        from ktl.edge.record import is_finished

        had_ended = is_finished(self.folder)
        with session_ending_with(cloud, had_ended, keep_session):
            comparison = train_beside_local(
                self.config,
                self.folder,
                cloud,
                task=self.task,
                resume=self.resume,
                observer=observer,
                local_observer=local,
                timekeeper=self.timekeeper,
            )
            if not had_ended:
                _keep_valid_latents(self.config, self.folder, cloud)
        return comparison

    def _offline(self, error: CloudUnreachable, local: Observer) -> RunResult:
        from ktl.edge.compare import train_alone
        from ktl.edge.task import draw
        from ktl.loop.folder import RunFolder

        errors.print(f"{error}\ntraining without the cloud; with it later: ktl edge train --resume {self.folder}")
        task = self.task or draw(self.config, self.folder)
        RunFolder(self.folder).start(self.config, task.manifest)
        return train_alone(self.config, self.folder, task=task, resume=True, observer=local)


def _boards(folder: Path, wanted: bool) -> tuple[list[Tracker], list[Tracker]]:
    """TensorBoard's curves of the two trainings."""
    from ktl.edge.tracking import TensorBoardTracker

    if not wanted:
        return [], []
    return [TensorBoardTracker(folder / "tensorboard" / "ktl")], [TensorBoardTracker(folder / "tensorboard" / "local")]


def _keep_valid_latents(config: RunConfig, folder: Path, cloud: CloudConnection) -> None:
    """For the report's picture of the latent space, which only an embedded cloud can draw from."""
    from ktl.cloud.embedded import EmbeddedCloud
    from ktl.edge.record import MAX_LATENTS, add_valid_latents
    from ktl.generators.base import sample_latents
    from ktl.seeds import stream

    if isinstance(cloud, EmbeddedCloud):
        rng = stream(config.seed, "valid latents")
        add_valid_latents(folder, sample_latents(cloud.generator, MAX_LATENTS, rng))
