"""The report's figures: matplotlib draws them as SVG, in colours that the page's light and dark styles decide."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ktl.formatting import in_percent
from ktl.report.embedding import Points, principal_components, tsne
from ktl.report.summary import Arm, Reliability, RunSummary

INK, FAINT = "#010101", "#020202"
SERIES = ["#030301", "#030302", "#030303", "#030304", "#030305", "#030306"]
VARIABLES = {INK: "--ink", FAINT: "--faint"} | {colour: f"--series-{i + 1}" for i, colour in enumerate(SERIES)}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.5,
}
SMOOTHED = 9  # logged losses that a drawn one is the mean of
MAX_POINTS = 250  # of each kind of latent
MAX_NAMED_CLASSES = 20  # more would cover one another


@dataclass(frozen=True)
class Drawing:
    """An SVG to put into a page, and what it shows in words."""

    svg: str
    alternative: str


@matplotlib.rc_context(STYLE)
def accuracy_drawing(runs: Sequence[RunSummary]) -> Drawing:
    """Test accuracy with its 95% interval, every run's two arms: after each round, or one below the other for one."""
    arms = [(f"{run.name}: {arm.name}" if len(runs) > 1 else arm.name, run, arm) for run in runs for arm in run.arms]
    rounds = max(len(arm.rows) for _, _, arm in arms)
    figure, axes = drawn_axes()
    for index, (name, run, arm) in enumerate(arms):
        colour = SERIES[index % len(SERIES)]
        shares = np.array([row["test_accuracy"] for row in arm.rows])
        bars = 100 * np.abs(np.array([arm.interval_of(share) for share in shares]).T - shares)
        if rounds == 1:
            axes.errorbar(100 * shares, [-index], xerr=bars, color=colour, marker="o", capsize=4)
        elif arm is run.local:  # it has one round of as many steps as all rounds of the other
            axes.errorbar([rounds], 100 * shares, bars, color=colour, marker="s", capsize=4, label=name)
        else:
            axes.errorbar(
                range(1, len(shares) + 1), 100 * shares, bars, color=colour, marker="o", capsize=3, label=name
            )
    if rounds == 1:
        axes.set_yticks([-i for i in range(len(arms))], [name for name, _, _ in arms], parse_math=False)
        axes.set_ylim(-len(arms) + 0.4, 0.6)
        axes.set_xlabel("test accuracy, %")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("round")
        axes.set_ylabel("test accuracy, %")
        axes.legend()
    ends = [
        f"{name} {in_percent(a.accuracy)} ({in_percent(a.interval[0])} to {in_percent(a.interval[1])})"
        for name, _, a in arms
    ]
    return finished(figure, f"accuracy {len(runs)}", f"At the end, with 95% intervals: {'; '.join(ends)}.")


@matplotlib.rc_context(STYLE)
def loss_drawing(run: RunSummary) -> Drawing:
    """The losses that the steps reported, smoothed, stage after stage."""
    figure, axes = drawn_axes()
    words = []
    for index, (name, arm, stage) in enumerate(_stages(run)):
        steps, losses = _joined(arm, stage)
        colour = SERIES[index]
        axes.plot(steps, _smoothed(losses), color=colour, label=name)
        words.append(f"{name} from {losses[0]:.2f} to {_smoothed(losses)[-1]:.2f}")
    axes.set_xlabel("step of the stage")
    axes.set_ylabel("loss")
    axes.legend()
    return finished(figure, f"loss {run.name}", f"Training loss: {'; '.join(words) or 'none was logged'}.")


@matplotlib.rc_context(STYLE)
def reliability_drawing(run: RunSummary, calibration: Reliability) -> Drawing:
    """Accuracy against confidence; on the diagonal a model is as good as it says."""
    figure, axes = drawn_axes()
    axes.plot([0, 100], [0, 100], color=FAINT, linestyle="--", label="as good as it says")
    sizes = [10 + 150 * n / sum(calibration.images) for n in calibration.images]
    confidence, accuracy = 100 * np.array(calibration.confidence), 100 * np.array(calibration.accuracy)
    axes.plot(confidence, accuracy, color=SERIES[0])
    axes.scatter(confidence, accuracy, s=sizes, color=SERIES[0], label="test images")
    axes.set_xlabel("probability that the model states, %")
    axes.set_ylabel("how often it is right, %")
    axes.legend()
    words = f"Stated probability against accuracy: {100 * calibration.error:.1f} points apart on average."
    return finished(figure, f"reliability {run.name}", words)


@matplotlib.rc_context(STYLE)
def latent_drawings(run: RunSummary) -> list[tuple[str, Drawing]]:
    """The method's own picture: prototypes as they were sent, and what the cloud made of them among valid latents."""
    arrays = run.main.record.arrays
    if "latents" not in arrays:
        return []
    kinds = _latent_kinds(run)
    vectors = np.concatenate([points for _, points in kinds])
    drawings = [("Prototypes before alignment", _prototype_drawing(run))] if "prototypes" in arrays else []
    for title, points in (
        ("After alignment, principal components", principal_components(vectors)),
        ("After alignment, t-SNE", tsne(vectors)),
    ):
        figure, axes = drawn_axes(grid=False)
        start = 0
        for index, (name, members) in enumerate(kinds):
            own_points = points[start : start + len(members)]
            start += len(members)
            last = index == len(kinds) - 1
            size, marker = (42, "*") if last else (7, "o")
            axes.scatter(
                own_points[:, 0],
                own_points[:, 1],
                s=size,
                marker=marker,
                color=SERIES[index],
                alpha=1.0 if last else 0.6,
                label=name,
            )
        _without_ticks(axes)
        axes.legend(fontsize=8, markerscale=1.2, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncol=2)
        counts = ", ".join(f"{len(members)} {name}" for name, members in kinds)
        drawings.append((title, finished(figure, f"{title} {run.name}", f"{counts[0].upper()}{counts[1:]}.")))
    return drawings


def _latent_kinds(run: RunSummary) -> list[tuple[str, Points]]:
    arrays = run.main.record.arrays
    latents = arrays["latents"].astype(np.float64)
    labels = arrays["latents_labels"]
    _, first = np.unique(labels, return_index=True)
    others = np.setdiff1d(np.arange(len(latents)), first)[:MAX_POINTS]
    random = np.random.default_rng(0).normal(latents.mean(), latents.std(), (MAX_POINTS, latents.shape[1]))
    kinds = [("random vectors", random)]
    if "valid_latents" in arrays:
        kinds.append(("valid latents", arrays["valid_latents"][:MAX_POINTS].astype(np.float64)))
    kinds.append(("latents that came down", latents[others]))
    kinds.append(("aligned prototypes", latents[first]))
    return [(name, points) for name, points in kinds if len(points)]


def _prototype_drawing(run: RunSummary) -> Drawing:
    arrays = run.main.record.arrays
    points = principal_components(arrays["prototypes"].astype(np.float64))
    figure, axes = drawn_axes(grid=False)
    axes.scatter(points[:, 0], points[:, 1], s=42, marker="*", color=SERIES[3])
    if len(points) <= MAX_NAMED_CLASSES:
        for (x, y), label in zip(points, arrays["prototypes_labels"], strict=True):
            axes.annotate(
                run.class_names[label], (x, y), xytext=(4, 3), textcoords="offset points", fontsize=8, parse_math=False
            )
    axes.margins(0.2)
    _without_ticks(axes)
    words = f"The {len(points)} class prototypes that the edge sent, by their two principal components."
    return finished(figure, f"prototypes {run.name}", words)


def _stages(run: RunSummary) -> list[tuple[str, Arm, str]]:
    stages_of_arms = []
    for arm in run.arms:
        stages = dict.fromkeys(stage for _, stage, _, _ in arm.record.losses)
        stages_of_arms += [
            (f"{arm.name}, {'pairs alone' if stage == 'warm-up' else stage}", arm, stage) for stage in stages
        ]
    return stages_of_arms


def _joined(arm: Arm, stage: str) -> tuple[list[int], list[float]]:
    """Steps counted on over rounds, and their losses."""
    steps: list[int] = []
    before, last_round = 0, None
    for round_number, _, step, _ in (entry for entry in arm.record.losses if entry[1] == stage):
        if last_round is not None and round_number != last_round:
            before = steps[-1]
        last_round = round_number
        steps.append(before + step)
    return steps, [entry[3] for entry in arm.record.losses if entry[1] == stage]


def _smoothed(losses: list[float]) -> list[float]:
    return [float(np.mean(losses[max(0, i + 1 - SMOOTHED) : i + 1])) for i in range(len(losses))]


def drawn_axes(*, grid: bool = True) -> tuple[Figure, Axes]:
    """A figure of the size that the page's columns have."""
    figure = Figure(figsize=(5.0, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.grid(grid)
    return figure, axes


def _without_ticks(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def finished(figure: Figure, salt: str, alternative: str) -> Drawing:
    """The figure as it goes into a page. `salt` keeps the ids of one page's drawings apart and the same every time."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1
    )
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return Drawing(svg, alternative)
