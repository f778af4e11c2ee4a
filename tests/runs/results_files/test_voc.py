"""VOC's results files: by hand, and back through our reader."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.metrics.results_files.voc import read_voc
from lit_detseg.runs.results_files import voc
from lit_detseg.runs.results_files.voc import VocResults
from lit_detseg.structures import LabelMap, UserError
from tests.runs.results_files.written import LABEL_MAP, detections_of, target_of, write


def lines_of(folder, name):
    return (folder / f"comp4_det_test_{name}.txt").read_text().splitlines()


def test_pixels_are_counted_from_1_and_both_corners_belong_to_the_box(tmp_path):
    first = detections_of(([0, 0, 1, 1], 0, 0.5), ([9.5, 4, 20, 8], 1, 0.25))
    second = detections_of(([1, 2, 3, 4], 0, 0.75))

    counts = write(
        VocResults,
        tmp_path / "voc",
        [(first, target_of("2007-000001", "2007.000001"))],
        [(second, target_of("b")), (detections_of(), target_of("c"))],
    )

    assert counts == {"images": 3, "detections": 3}
    assert lines_of(tmp_path / "voc", "person") == [
        "2007.000001 0.5 1.0 1.0 1.0 1.0",
        "b 0.75 2.0 3.0 3.0 4.0",
    ]
    assert lines_of(tmp_path / "voc", "traffic light") == ["2007.000001 0.25 10.5 5.0 20.0 8.0"]
    assert lines_of(tmp_path / "voc", "car") == []


coordinates = st.tuples(*[st.floats(0, 500, width=32)] * 4)


@given(st.lists(st.tuples(coordinates, st.integers(0, 2), st.floats(0, 1, width=32)), min_size=1))
def test_our_reader_reads_what_was_written(rows):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        objects = "".join(
            f"<object><name>{one}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax>"
            "<ymax>2</ymax></bndbox></object>"
            for one in LABEL_MAP.names
        )
        (folder / "a.xml").write_text(f"<annotation>{objects}</annotation>")
        write(VocResults, folder / "voc", [(detections_of(*rows), target_of("a"))])
        found = read_voc(folder, folder / "voc").found
    names = sorted(LABEL_MAP.names)
    rows = sorted(rows, key=lambda row: names.index(LABEL_MAP.names[row[1]]))  # stable
    boxes = np.array([row[0] for row in rows])
    expected = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    np.testing.assert_allclose(found.shape, expected, rtol=0, atol=1e-12)
    assert found.score.tolist() == [row[2] for row in rows]


def test_lines_that_are_held_back_are_not_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(voc, "MOST_LINES_HELD", 2)
    images = [(detections_of(([0, 0, n, n], n % 2, 0.5)), target_of(f"i{n}")) for n in range(1, 8)]
    write(VocResults, tmp_path / "voc", images)
    for name, numbers in (("person", (2, 4, 6)), ("traffic light", (1, 3, 5, 7))):
        images = [line.split()[0] for line in lines_of(tmp_path / "voc", name)]
        assert images == [f"i{n}" for n in numbers]


def test_names_that_cannot_stand_in_the_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="class 'cat/dog' cannot be part of a file's name"):
        VocResults(tmp_path / "voc", LabelMap(("cat/dog",)))
    for name in ("a b", "a/b"):
        with pytest.raises(UserError, match=f"The image '{name}' has a space or a slash"):
            write(VocResults, tmp_path / "voc", [(detections_of(), target_of("a", name))])
    with pytest.raises(UserError, match="has a label map"):
        VocResults(tmp_path / "voc", None)
