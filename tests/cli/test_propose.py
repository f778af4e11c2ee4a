"""`lit-detseg propose` as typed."""

import json
import shutil

import cv2
import numpy as np
import pytest

from lit_detseg.cli import propose
from lit_detseg.cli.propose import main
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.proposals.recall import measure_recall
from lit_detseg.data.proposals.writer import write_proposals
from lit_detseg.errors import UserError
from tests.data.proposals.sets import contents, reader_of
from tests.data.shard_sets import write_shapes

IMAGES = 9


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("packed") / "set", IMAGES)


@pytest.fixture
def folder(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "set")


def run_json(capsys, *arguments):
    main([*map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


SEARCH = ("--method", "selective_search", "--width", 48, "--min-side", 5)


def test_the_summary_is_what_was_stored_and_measured(folder, capsys):
    summary = run_json(capsys, folder, *SEARCH, "--workers", 2)

    reader = reader_of(folder)
    proposals = ProposalReader(reader, "selective_search")
    counts = proposals.counts
    assert summary["folder"] == str(folder / "proposals/selective_search")
    assert summary["options"] == {"mode": "fast", "width": 48, "min_side": 5}
    assert summary["images"] == IMAGES
    assert summary["proposals_per_image"]["max"] == counts.max()
    assert summary["proposals_per_image"]["mean"] == pytest.approx(counts.mean(), abs=0.05)
    assert summary["cost"]["cpu_seconds"] > 0
    assert summary["recall"] == measure_recall(reader, proposals).to_json()["recall"]
    assert summary["recall"]["0.5"]["overall"][-1] > 0.6  # tiny shapes at a tiny size


def test_the_plot_lies_beside_the_proposals(folder, capsys):
    run_json(capsys, folder, "--method", "grid")
    plot = cv2.imread(str(folder / "proposals/grid/recall.png"))
    assert plot.shape[1] > 1000
    assert len(np.unique(plot)) > 50


def test_people_see_a_table_for_each_threshold_and_the_cost(folder, capsys):
    main([str(folder), "--method", "grid"])
    printed = capsys.readouterr().out
    assert "Recall at an IoU of 0.5, by the number of proposals" in printed
    assert "Recall at an IoU of 0.7, by the number of proposals" in printed
    for name in reader_of(folder).label_map.names:
        assert f"{name} (" in printed
    assert "s of CPU per image to compute" in printed
    assert max(map(len, printed.splitlines()[:12])) <= 80


def test_asked_again_it_prints_the_same_and_computes_nothing(folder, capsys):
    first = run_json(capsys, folder, "--method", "grid")
    before = contents(folder)
    main([str(folder), "--method", "grid", "--json"])
    again = capsys.readouterr()
    assert json.loads(again.out) == first
    assert "is there already" in again.err
    assert contents(folder) == before


def test_fast_and_quality_are_kept_apart_by_their_names(folder, capsys):
    names = [run_json(capsys, folder, *SEARCH, *more)["folder"].rsplit("/", 1)[1] for more in MORE]
    assert names == ["selective_search", "selective_search_quality", "mine"]


MORE = [(), ("--mode", "quality"), ("--name", "mine")]


def test_an_option_of_another_method_is_refused(folder):
    with pytest.raises(UserError, match="grid has no option --mode, --min-side. Leave it out"):
        main([str(folder), "--method", "grid", "--mode", "fast", "--min-side", "3"])
    with pytest.raises(UserError, match="use one of fast, quality"):
        main([str(folder), "--method", "selective_search", "--mode", "slow"])
    assert not (folder / "proposals").exists()


def test_a_url_is_refused():
    with pytest.raises(UserError, match="https://host/set: propose reads folders"):
        main(["https://host/set", "--method", "grid"])


def test_ctrl_c_says_that_the_work_is_kept(folder, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(propose, "compute_proposals", interrupted)
    with pytest.raises(SystemExit) as exit_:
        main([str(folder), "--method", "grid"])
    assert exit_.value.code == 130
    assert "Finished images are kept" in capsys.readouterr().err


def test_images_without_proposals_and_classes_without_objects_are_no_trouble(folder, capsys):
    write_proposals(folder, "grid", [np.zeros((0, 4))] * IMAGES, "grid", {"levels": 5})
    summary = run_json(capsys, folder, "--method", "grid")
    assert summary["proposals_per_image"] == {"min": 0, "mean": 0.0, "max": 0}
    assert summary["recall"]["0.5"]["overall"] == [0.0] * 9
    assert summary["cost"] is None
