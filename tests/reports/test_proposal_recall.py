"""The plot of the recall: the curves are where the numbers are."""

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lit_detseg.data.proposals.recall import Recall
from lit_detseg.reports.proposal_recall import COLOURS, draw_recall
from lit_detseg.structures import LabelMap


def recall_of(classes, objects=10):
    """Class `c` has found `c` of its objects at 0.5, none at 0.7."""
    found = np.zeros((classes, 2, 9), dtype=np.int64)
    found[:, 0] = np.arange(classes)[:, None]
    names = LabelMap(tuple(f"class {number}" for number in range(classes)))
    return Recall(names, found, np.full(classes, objects), np.zeros(1, np.int64))


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn."""
    drawn, make = [], Figure.__init__

    def keep(figure, *arguments, **options):
        drawn.append(figure)
        make(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "__init__", keep)
    return drawn


def test_each_panel_has_the_curves_of_its_threshold(tmp_path, figures):
    draw_recall(recall_of(3), "title", tmp_path / "plot.png")
    half, strict = figures[0].axes
    values = {line.get_label(): line.get_ydata()[-1] for line in half.get_lines()}
    assert values == {
        "all objects (30)": pytest.approx(3 / 30),
        "class 0 (10)": 0.0,
        "class 1 (10)": 0.1,
        "class 2 (10)": 0.2,
    }
    assert {line.get_ydata()[-1] for line in strict.get_lines()} == {0.0}
    assert "IoU of at least 0.5: 10.0% of all objects" in half.get_title()
    assert [tick.get_text() for tick in half.get_xticklabels()][-2:] == ["2000", "all"]


def test_every_class_has_a_colour_that_is_seen(tmp_path):
    draw_recall(recall_of(len(COLOURS)), "title", tmp_path / "plot.png")
    pixels = cv2.imread(str(tmp_path / "plot.png"))[..., ::-1].reshape(-1, 3)
    for colour in COLOURS:
        wanted = np.round(np.array(to_rgb(colour)) * 255)
        assert (pixels == wanted).all(axis=1).sum() > 100


def test_many_classes_share_a_colour_and_a_line_of_the_legend(tmp_path, figures):
    draw_recall(recall_of(80, objects=100), "title", tmp_path / "plot.png")
    names = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert names == ["all objects (8000)", "each of 80 classes"]


def test_a_set_without_objects_is_drawn_too(tmp_path, figures):
    draw_recall(recall_of(2, objects=0), "title", tmp_path / "plot.png")
    assert figures[0].axes[0].get_title() == "IoU of at least 0.5"
    assert (tmp_path / "plot.png").stat().st_size > 1000
