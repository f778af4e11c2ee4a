"""`lit-detseg plan` says what the loaders read."""

import json

import pytest

from lit_detseg.cli.plan import main
from lit_detseg.data import ShapesDataModule
from lit_detseg.data.sampling import RepeatFactor, training_order
from lit_detseg.data.shards import ShardReader
from lit_detseg.structures import UserError
from tests.data.shard_sets import write_numbered, write_shapes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_numbered(tmp_path_factory.mktemp("plan") / "set", images=11))


def plan(capsys, *arguments):
    main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_plan_is_what_training_reads(folder, capsys):
    planned = plan(capsys, folder, "--batch", "4", "--seed", "3", "--epoch", "1")

    module = ShapesDataModule(train=folder, total_batch_size=4, seed=3, num_workers=0)
    loader = module.train_dataloader()
    list(loader)  # epoch 0
    read = [batch.annotations.image_ids for batch in loader]

    assert [keys for (keys,) in planned["steps"]] == read
    assert planned["images"] == 11
    assert planned["images_per_step"] == 4
    assert planned["dropped"] == 11 - 2 * 4
    assert (planned["epoch"], planned["seed"]) == (1, 3)


def test_the_plan_of_an_evaluation_is_what_it_reads(folder, capsys):
    planned = plan(capsys, folder, "--split", "val", "--batch", "4", "--ranks", "3")
    assert planned["steps"] == [
        [["0000"], ["0001"], ["0002", "0003"]],
        [["0004"], ["0005"], ["0006", "0007"]],
        [["0008"], ["0009"], ["0010"]],
    ]
    assert planned["dropped"] == planned["repeated"] == 0


def test_ranks_and_workers_do_not_change_the_global_order(folder, capsys):
    alone = plan(capsys, folder, "--batch", "4")
    shared = plan(capsys, folder, "--batch", "4", "--ranks", "2", "--workers", "7")
    flat = [[sum(step, []) for step in planned["steps"]] for planned in (alone, shared)]
    assert flat[0] == flat[1]
    assert (shared["ranks"], shared["workers"]) == (2, 7)
    assert {len(keys) for step in shared["steps"] for keys in step} == {2}


def test_a_wrapped_tail_is_counted(folder, capsys):
    planned = plan(capsys, folder, "--batch", "4", "--tail", "wrap")
    assert (planned["dropped"], planned["repeated"], len(planned["steps"])) == (0, 1, 3)
    assert planned["steps"][2][0][3] == planned["steps"][0][0][0]


def test_sampling_grouping_and_accumulation_are_planned(tmp_path, capsys):
    folder = str(write_shapes(tmp_path / "set", images=12))
    options = [
        "--repeat-factor",
        "1",
        "--group-by-aspect-ratio",
        "--accumulate",
        "2",
        "--batch",
        "2",
    ]

    planned = plan(capsys, folder, *options, "--ranks", "2", "--tail", "wrap", "--epoch", "1")
    main([folder, *options, "--tail", "wrap"])

    order = training_order(
        ShardReader([folder]), 2, RepeatFactor(1.0), True, tail="wrap", accumulate=2
    )
    steps = range(order.steps, 2 * order.steps)
    keys = ShardReader([folder]).keys
    expected = [keys[order.slots(step).samples].tolist() for step in steps]
    assert [sum(step, []) for step in planned["steps"]] == expected
    assert planned["sampling"] == "RepeatFactor(threshold=1.0)"
    assert planned["group_by_aspect_ratio"]
    assert planned["images_per_epoch"] == order.images_per_epoch > 12
    printed = capsys.readouterr().out
    assert "2 make an optimiser step of 4" in printed
    assert "one orientation" in printed
    assert plan(capsys, folder, "--class-balanced")["sampling"] == "ClassBalanced()"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--batch", "4"], "3 left out of each epoch", id="drop"),
        pytest.param(["--batch", "4", "--tail", "wrap"], "first 1 images fill up", id="wrap"),
        pytest.param(["--split", "val"], "every image is in exactly one step", id="evaluation"),
    ],
)
def test_people_are_told_what_happens_to_the_tail(folder, capsys, arguments, sentence):
    main([folder, *arguments])
    printed = capsys.readouterr().out
    assert sentence in printed
    assert "rank 0" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--ranks", "3", "--batch", "4"], "cannot be shared by 3", id="ranks"),
        pytest.param(["--ranks", "0"], "at least one rank", id="no rank"),
        pytest.param(["--batch", "12"], "fewer than one batch of 12", id="batch"),
        pytest.param(["--repeat-factor", "2"], "at most 1", id="threshold"),
        pytest.param(["--repeat-factor", "1", "--class-balanced"], "not allowed with", id="two"),
        pytest.param(["--batch", "x"], "invalid int value", id="no number"),
    ],
)
def test_mistakes_are_explained(folder, arguments, message):
    with pytest.raises(UserError, match=message):
        main([folder, *arguments])
