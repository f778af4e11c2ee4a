"""Results appear when they are complete, in the place of earlier ones."""

import pytest

from lit_detseg.runs.results_files.coco import CocoResults
from lit_detseg.runs.results_files.voc import VocResults
from lit_detseg.structures import UserError
from tests.runs.results_files.written import LABEL_MAP, detections_of, target_of, write

ONE = [(detections_of(([0, 0, 8, 8], 0, 0.5)), target_of("a"))]
NOTHING = [(detections_of(), target_of("a"))]


def contents(path):
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {file.name: file.read_text() for file in files}


@pytest.mark.parametrize("kind", [CocoResults, VocResults])
def test_earlier_results_stay_until_new_ones_take_their_place(kind, tmp_path):
    path = tmp_path / kind.file_name
    write(kind, path, ONE)
    before = contents(path)
    writer = kind(path, LABEL_MAP)
    writer.prepare()
    writer.open()
    writer.write(*NOTHING[0])
    writer.close()
    assert contents(path) == before

    writer.publish(1)

    assert contents(path) != before
    assert [one.name for one in tmp_path.iterdir()] == [kind.file_name]


def test_what_a_killed_evaluation_has_left_is_removed(tmp_path):
    killed = CocoResults(tmp_path / "coco.json", LABEL_MAP, rank=1)
    killed.prepare()
    killed.open()
    killed.write(*ONE[0])
    killed.close()

    assert write(CocoResults, tmp_path / "coco.json", NOTHING) == {"images": 1, "detections": 0}
    assert [one.name for one in tmp_path.iterdir()] == ["coco.json"]


def test_ranks_that_write_elsewhere_are_noticed(tmp_path):
    writer = CocoResults(tmp_path / "coco.json", LABEL_MAP)
    writer.prepare()
    writer.open()
    writer.close()
    with pytest.raises(UserError, match="rank 1 .* cannot be seen by rank 0.*all nodes share"):
        writer.publish(2)
