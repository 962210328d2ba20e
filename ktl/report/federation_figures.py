"""The figures of a federation's page."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from ktl.formatting import in_percent
from ktl.report.figures import SERIES, STYLE, Drawing, drawn_axes, finished

LINES = ["-", "--", ":"]  # told apart by colour first, then by these


@matplotlib.rc_context(STYLE)
def method_drawing(best: Mapping[str, tuple[float, float]]) -> Drawing:
    """Each method's best mean accuracy (0..1) with half of its 95% interval, nan where there is one seed."""
    figure, axes = drawn_axes()
    words = []
    for index, (name, (mean, half)) in enumerate(best.items()):
        bar = None if math.isnan(half) else 100 * half
        axes.errorbar([100 * mean], [-index], xerr=bar, color=SERIES[index % len(SERIES)], marker="o", capsize=4)
        words.append(f"{name} {in_percent(mean)}" + ("" if bar is None else f" ± {bar:.1f}"))
    axes.set_yticks([-i for i in range(len(best))], list(best), parse_math=False)
    axes.set_ylim(-len(best) + 0.4, 0.6)
    axes.set_xlabel("mean test accuracy of the best round, %")
    over = (
        "One seed, so without intervals"
        if all(math.isnan(half) for _, half in best.values())
        else "With 95% intervals over seeds"
    )
    return finished(figure, "methods", f"{over}: {'; '.join(words)}.")


@matplotlib.rc_context(STYLE)
def round_drawing(by_round: Mapping[str, list[float]]) -> Drawing:
    """Mean accuracy (0..1) after each round, one line per method."""
    figure, axes = drawn_axes()
    for index, (name, accuracies) in enumerate(by_round.items()):
        rounds, shares = range(1, len(accuracies) + 1), 100 * np.array(accuracies)
        style = LINES[index // len(SERIES) % len(LINES)]
        axes.plot(rounds, shares, color=SERIES[index % len(SERIES)], linestyle=style, marker=".", label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("round")
    axes.set_ylabel("mean test accuracy, %")
    axes.legend(fontsize=8)
    ends = "; ".join(f"{name} {in_percent(accuracies[-1])}" for name, accuracies in by_round.items())
    return finished(figure, "rounds", f"After the last round: {ends}.")


@matplotlib.rc_context(STYLE)
def client_drawing(by_client: Mapping[str, Mapping[int, float]]) -> Drawing:
    """Each client's accuracy (0..1) after the last round: one bar per method, client beside client."""
    figure, axes = drawn_axes()
    width = 0.8 / len(by_client)
    for index, (name, accuracies) in enumerate(by_client.items()):
        places = np.array(list(accuracies)) + (index - (len(by_client) - 1) / 2) * width
        heights = 100 * np.array(list(accuracies.values()))
        opacity = 1.0 - 0.35 * (index // len(SERIES))
        axes.bar(places, heights, width, color=SERIES[index % len(SERIES)], alpha=opacity, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("client")
    axes.set_ylabel("test accuracy, %")
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)  # bars leave no room for it
    ranges = [
        f"{name} {in_percent(min(values.values()))} to {in_percent(max(values.values()))}"
        for name, values in by_client.items()
        if values
    ]
    return finished(figure, "clients", f"From the worst client to the best: {'; '.join(ranges)}.")
