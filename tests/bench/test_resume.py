"""`lit-detseg bench resume` measures what it says."""

import json
from argparse import Namespace

import pytest

from lit_detseg.bench.resume import Resumes, TinyImages, print_table, seconds_to_first_batch
from lit_detseg.cli.bench import main
from lit_detseg.data.packing.pack import pack
from lit_detseg.structures import UserError
from tests.data.shard_sets import write_numbered


def test_each_position_is_reached_in_both_ways(capsys):
    main(["resume", "--images", "1600", "--workers", "0", "--rounds", "1", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["positions"] == [0, 0.5, 0.99]
    assert result["images"] == [0, 800, 99 * 16]  # 100 steps of 16 an epoch
    assert len(result["seek"]) == 3
    assert result["replay"] == sorted(result["replay"])  # one stream, read from its start


def test_the_table_compares_both_ways(capsys):
    options = Namespace(images=1600, workers=2, rounds=3)
    print_table(Resumes([0, 0.5], [0, 800], [0.5, 0.5], [0.0, 4.0]), options)
    start, middle = [line for line in capsys.readouterr().out.splitlines() if "%" in line]
    assert [cell.strip() for cell in start.split("│")[1:-1]] == ["0%", "0", "0.50", "0.00", "-"]
    assert [cell.strip() for cell in middle.split("│")[1:-1]] == [
        "50%",
        "800",
        "0.50",
        "4.00",
        "8.0",
    ]


def test_a_wrong_first_batch_would_be_noticed(tmp_path):
    pack(TinyImages(64), tmp_path / "tiny")
    assert seconds_to_first_batch(str(tmp_path / "tiny"), 3, workers=0) > 0
    others = write_numbered(tmp_path / "others", images=32)  # other keys
    with pytest.raises(RuntimeError, match="Step 1 is"):
        seconds_to_first_batch(str(others), 1, workers=0)


@pytest.mark.parametrize("options", [["--images", "99"], ["--rounds", "0"], ["--workers", "-1"]])
def test_options_that_measure_nothing_are_refused(options):
    with pytest.raises(UserError, match="give at least 1600 images"):
        main(["resume", *options])
