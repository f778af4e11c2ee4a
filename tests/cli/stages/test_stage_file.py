"""What a stage file says, and which mistakes in it are found before anything is trained."""

import pytest

from lit_detseg.cli.stages.stage_file import Start, fill_names, read_stage_file
from lit_detseg.errors import UserError

ROW = """
common:
  data: data/voc.yaml
  model:
    init_args: {backbone: vgg16, optimizer: {class_path: SGD, init_args: {lr: 1e-3, momentum: 0.9}}}
stages:
  - name: rpn
    model: {class_path: RegionProposals}
    trainer: {max_steps: 80_000}
  - name: boxes
    propose: {}
    model: {init_args: {proposals: {after_nms: 2000}}}
  - name: detector
    start_from: {stage: rpn, parts: backbone}
    model:
      class_path: FastRCNN
      init_args: {optimizer: {class_path: Adam, init_args: {lr: 0.1}}}
    data: {init_args: {proposals: "{boxes}", note: "{{literal}}"}}
  - name: joined
    train: false
    start_from: [detector, {stage: rpn, parts: [rpn.head, backbone]}]
"""


@pytest.fixture
def write(tmp_path):
    """A function that writes a stage file beside the data's own."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/voc.yaml").write_text("class_path: VOC\ninit_args: {train: shards}\n")

    def write(text):
        path = tmp_path / "row.yaml"
        path.write_text(text)
        return path

    return write


def test_every_stage_gets_what_is_common_and_its_own(write):
    rpn, boxes, detector, joined = read_stage_file(write(ROW))

    assert [stage.folder for stage in (rpn, boxes, detector, joined)] == [
        "01_rpn",
        "02_boxes",
        "03_detector",
        "04_joined",
    ]
    assert [stage.kind for stage in (rpn, boxes, detector, joined)] == [
        "train",
        "propose",
        "train",
        "store",
    ]
    assert rpn.recipe["trainer"] == {"max_steps": 80_000}
    assert rpn.recipe["model"]["init_args"]["backbone"] == "vgg16"
    assert rpn.recipe["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.001
    assert detector.recipe["data"]["class_path"] == "VOC"  # read from the file that is named
    assert detector.recipe["data"]["init_args"]["train"] == "shards"


def test_another_class_brings_its_own_arguments(write):
    detector = read_stage_file(write(ROW))[2]
    optimizer = detector.recipe["model"]["init_args"]["optimizer"]
    assert optimizer == {"class_path": "Adam", "init_args": {"lr": 0.1}}  # no momentum of SGD's


def test_a_stage_starts_from_the_one_before_unless_it_says_otherwise(write):
    rpn, boxes, detector, joined = read_stage_file(write(ROW))
    assert rpn.start_from == ()
    assert boxes.start_from == (Start("rpn"),)
    assert detector.start_from == (Start("rpn", ("backbone",)),)
    assert joined.start_from == (Start("detector"), Start("rpn", ("rpn.head", "backbone")))


def test_proposals_need_only_what_differs_from_the_network_s_own_recipe(write):
    boxes = read_stage_file(write(ROW))[1]
    assert boxes.recipe == {"model": {"init_args": {"proposals": {"after_nms": 2000}}}}
    assert boxes.propose == {"sets": ["train", "val"]}


def test_names_of_earlier_stages_are_filled_in(write):
    detector = read_stage_file(write(ROW))[2]
    filled = fill_names(detector.recipe, {"boxes": "boxes-1234", "rpn": "runs/01_rpn"}, "")
    assert filled["data"]["init_args"]["proposals"] == "boxes-1234"
    assert filled["data"]["init_args"]["note"] == "{literal}"


def test_a_stage_may_name_its_own_run_and_no_later_one(write):
    text = "stages: [{name: a, model: {cache: '{a}/cache'}}, {name: b, model: {cache: '{%s}'}}]"
    assert read_stage_file(write(text % "a"))[1].recipe["model"]["cache"] == "{a}"
    with pytest.raises(UserError, match=r"\{c\} is no stage so far"):
        read_stage_file(write(text % "c"))


def one_stage(line):
    return f"stages:\n  - name: first\n    model: {{}}\n  - name: second\n    {line}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("stage: []", "'stage' is not known here. Did you mean `stages`?", id="typo"),
        pytest.param("model: {}", "a recipe without stages: give it with `-c`", id="a recipe"),
        pytest.param("stages: []", "`stages` must be a list of at least one", id="no stage"),
        pytest.param("- a", "must hold a mapping", id="a list"),
        pytest.param("stages: [{name: a: b}]", "cannot be read", id="no YAML"),
        pytest.param("stages: [rpn]", "stage 1 must be a mapping", id="a stage that is a word"),
        pytest.param("stages: [{name: RPN 1}]", "must be a word of small letters", id="no name"),
        pytest.param("stages: [{name: data}]", "cannot be called data", id="a section's name"),
        pytest.param(
            "stages: [{name: a}, {name: a}]", "two stages called a. Rename one", id="twice"
        ),
        pytest.param(
            one_stage("trainr: {}"),
            "stage 2 (second): 'trainr' is not known here. Did you mean `trainer`?",
            id="a key of a stage",
        ),
        pytest.param(
            one_stage("start_from: frist"),
            "names 'frist', which is no earlier stage that has weights. Did you mean `first`?",
            id="no such stage",
        ),
        pytest.param(
            one_stage("start_from: second"), "names 'second', which is no earlier", id="a cycle"
        ),
        pytest.param(
            one_stage("start_from: {stage: first, part: rpn}"),
            "Did you mean `parts`?",
            id="a key of start_from",
        ),
        pytest.param(
            one_stage("start_from: first\n    run: {start_from: a.ckpt}"),
            "give `start_from` or `run.start_from`, not both",
            id="two starts",
        ),
        pytest.param(
            one_stage("data: {proposals: '{frist}'}"),
            "{frist} is no stage so far. Did you mean `first`?",
            id="a name that is not there",
        ),
        pytest.param(one_stage("train: maybe"), "must be true or false", id="train"),
        pytest.param(
            one_stage("train: false\n    start_from: null"), "needs weights to store", id="nothing"
        ),
        pytest.param(
            one_stage("propose: {}\n    start_from: {stage: first, parts: rpn}"),
            "the one stage whose network proposes",
            id="half a network",
        ),
        pytest.param(
            one_stage("propose: {sets: [trian]}"), "must be a list of some of train", id="sets"
        ),
        pytest.param(
            one_stage("propose: {}\n    train: false"), "do not go together", id="two kinds"
        ),
        pytest.param(
            "common: {modle: {}}\nstages: [{name: a}]", "Did you mean `model`?", id="common"
        ),
    ],
)
def test_a_mistake_is_named_with_file_and_stage(write, text, said):
    path = write(text)
    with pytest.raises(UserError) as caught:
        read_stage_file(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"row\.yaml cannot be read \(No such file"):
        read_stage_file(tmp_path / "row.yaml")


def test_a_section_s_file_that_is_not_there_is_named(write, tmp_path):
    path = write("stages: [{name: a, data: none.yaml}]")
    with pytest.raises(UserError, match=f"{tmp_path}/none.yaml cannot be read"):
        read_stage_file(path)
