"""Histograms of a set, against counts by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.data.shards import ShardReader
from lit_detseg.reports.set_statistics import (
    RECORDS_READ,
    histogram,
    of_index,
    of_records,
    records_to_read,
    size_name,
)
from tests.reports.page_sets import IMAGES, write_known


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return ShardReader(write_known(tmp_path_factory.mktemp("statistics") / "set"))


def test_the_index_is_counted(reader):
    found = of_index(reader)
    assert found["objects_of_class"] == [2, 4, 1]
    assert found["images_of_class"] == [2, 3, 1]
    assert found["objects_per_image"] == [
        {"from": 0, "to": 1, "count": 1},
        {"from": 1, "to": 2, "count": 1},
        {"from": 2, "to": 3, "count": 3},
    ]
    assert (found["images_without_objects"], found["most_objects"]) == (1, 2)
    assert found["shorter_side_range"] == [200, 200]
    assert found["longer_side_range"] == [300, 300]


def test_the_records_are_counted(reader):
    read = []
    found = of_records(reader, np.arange(len(reader)), lambda: read.append(1))
    assert len(read) == found["records_read"] == len(IMAGES)
    assert found["objects_read"] == 7
    assert found["sizes"] == {"small": 2, "medium": 3, "large": 2}
    assert found["kinds"] == {"crowd": 1, "difficult": 1, "truncated": 1, "polygons": 6}


def test_of_a_large_set_some_records_are_read(reader):
    few, many = np.arange(50, 90), np.arange(50, 50 + 2 * RECORDS_READ)
    assert records_to_read(few).tolist() == few.tolist()
    chosen = records_to_read(many)
    assert len(np.unique(chosen)) == RECORDS_READ
    assert np.isin(chosen, many).all()
    # Spread over the set: about half of them from each half, within 5 standard deviations.
    assert abs((chosen < 50 + RECORDS_READ).sum() - RECORDS_READ / 2) < 5 * RECORDS_READ**0.5 / 2


@pytest.mark.parametrize(
    ("area", "name"),
    [
        pytest.param(0, "small", id="nothing"),
        pytest.param(1023.9, "small", id="below 32^2"),
        pytest.param(1024, "medium", id="32^2"),
        pytest.param(9215.9, "medium", id="below 96^2"),
        pytest.param(9216, "large", id="96^2"),
    ],
)
def test_sizes_are_those_of_coco(area, name):
    assert size_name(area) == name


@given(st.lists(st.floats(0, 1000)))
def test_every_value_is_in_one_bin(values):
    bins = histogram(np.array(values), (0, 1, 10, 100))
    assert sum(bin_["count"] for bin_ in bins) == len(values)
    for before, after in zip(bins, bins[1:], strict=False):
        assert before["to"] == after["from"]
    for bin_ in bins:
        upper = np.inf if bin_["to"] is None else bin_["to"]
        assert bin_["count"] == sum(bin_["from"] <= value < upper for value in values)
    assert not bins or bins[0]["count"] * bins[-1]["count"] > 0


def test_bars_count_the_whole_set(opened):
    by_label = {
        row.get_attribute("data-label"): int(row.get_attribute("data-count"))
        for row in opened.all("#chart-classes .class-row")
    }
    assert by_label == {"0": 2, "1": 4, "2": 1}
    # Sides 20 20 40 50 60 100 100 in bins that start at 16, 32, 64, 96.
    assert opened.counts("object-sizes") == [2, 3, 0, 2]
    assert opened.counts("objects-per-image") == [1, 1, 3]
    assert opened.counts("longer-sides") == [5]  # 300 pixels, from 256
    assert opened.counts("aspect-ratios") == [5]  # 200 / 300, from 0.6
    heights = [bar.size["height"] for bar in opened.all("#chart-object-sizes .bar")]
    assert heights[0] / heights[1] == pytest.approx(2 / 3, abs=0.03)
