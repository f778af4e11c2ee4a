"""A plot of the recall of region proposals."""

from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.data.proposals.recall import THRESHOLDS, Recall

# Of Okabe and Ito, for eyes that tell few colours apart. More classes than colours are all grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
SIZE = (10.5, 4.6)  # inches
DOTS_PER_INCH = 150


def draw_recall(recall: Recall, title: str, path: Path) -> None:
    """Write a PNG: recall against the number of proposals, one panel for each IoU threshold.

    Args:
        recall: of the proposals of a set.
        title: above both panels.
        path: of the file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DOTS_PER_INCH, layout="constrained")
    panels = figure.subplots(1, len(THRESHOLDS), sharey=True)
    for panel, threshold in zip(panels, THRESHOLDS, strict=True):
        _draw_overall(panel, recall, threshold)
        _draw_classes(panel, recall, threshold)
        panel.set_xticks(range(len(recall.numbers)), [str(number) for number in recall.numbers])
        panel.set_xlabel("proposals per image")
        panel.set_ylim(0, 1.04)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("recall")
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside right center", frameon=False)
    figure.suptitle(title, fontsize=11)
    FigureCanvasAgg(figure).print_png(path)


def _draw_overall(panel: Any, recall: Recall, threshold: float) -> None:
    """The curve of all objects, with its last value above it."""
    values = recall.overall(threshold)
    name = f"all objects ({recall.objects.sum()})"
    panel.plot(
        range(len(values)), values, color="0.15", linewidth=4.5, solid_capstyle="round", label=name
    )
    found = "" if np.isnan(values[-1]) else f": {values[-1]:.1%} of all objects are found"
    panel.set_title(f"IoU of at least {threshold}{found}", fontsize=10)


def _draw_classes(panel: Any, recall: Recall, threshold: float) -> None:
    """The curves of the classes that have objects, the most frequent first."""
    order = np.argsort(-recall.objects, kind="stable").tolist()
    labels = [label for label in order if recall.objects[label]]
    places = range(len(recall.numbers))
    for rank, label in enumerate(labels):
        values = recall.of_class(label, threshold)
        if len(labels) <= len(COLOURS):
            name = f"{recall.label_map.names[label]} ({recall.objects[label]})"
            panel.plot(places, values, "-o", color=COLOURS[rank], markersize=4, label=name)
        else:  # one of them stands for all in the legend
            name = "_" if rank else f"each of {len(labels)} classes"
            panel.plot(places, values, color="0.6", linewidth=0.8, zorder=1, label=name)
