"""What cross-validation leaves in a run's folder: which shots were classified right. Nothing here imports torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from ktl.errors import CheckpointError
from ktl.files import write_json

FOLDS = "folds.json"


@dataclass(frozen=True)
class CrossValidation:
    """By training, "KTL" and "local only" or that alone: whether each shot (n,) was classified right."""

    folds: int
    right: dict[str, list[bool]]


@dataclass
class FoldAnswers:
    """The answers so far: by training, which of the `shots` were classified right."""

    folds: int
    shots: int
    right: dict[str, dict[int, bool]] = field(default_factory=dict)

    def save(self, run: Path) -> None:
        """Into the run's folder. Raises CheckpointError when it cannot be written."""
        write_json(run / FOLDS, vars(self))

    @property
    def whole(self) -> bool:
        """Whether every training was asked of every shot."""
        return bool(self.right) and all(len(answers) == self.shots for answers in self.right.values())

    @property
    def result(self) -> CrossValidation:
        """What it comes to, of answers that are whole."""
        return CrossValidation(
            self.folds, {name: [answers[shot] for shot in range(self.shots)] for name, answers in self.right.items()}
        )


def read_answers(run: Path) -> FoldAnswers | None:
    """What a run's folder has. Raises CheckpointError for a damaged file."""
    try:
        facts = json.loads((run / FOLDS).read_text(encoding="utf-8"))
        right = {name: {int(shot): bool(yes) for shot, yes in kept.items()} for name, kept in facts["right"].items()}
        return FoldAnswers(facts["folds"], facts["shots"], right)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{run / FOLDS} is damaged ({error}): remove it and give --folds again") from error


def read_folds(run: Path) -> CrossValidation | None:
    """The cross-validation of a run; None where it was not done, or not to its end."""
    answers = read_answers(run)
    return answers.result if answers is not None and answers.whole else None
