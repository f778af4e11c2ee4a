"""Our reading and scoring of Cityscapes against cityscapesScripts, run for real on drawn scenes."""

import importlib
import io

import numpy as np
import pytest
import torch
from PIL import Image

from lit_detseg.cli.cityscapes_scores import cityscapes_scores
from lit_detseg.data.readers.cityscapes import CityscapesReader
from lit_detseg.data.readers.cityscapes_labels import LABELS
from lit_detseg.data.readers.cityscapes_pixels import draw_instance_ids
from lit_detseg.metrics.cityscapes_ap import CityscapesAveragePrecision
from tests.data.readers.drawn_cityscapes import (
    random_objects,
    write_ids,
    write_image,
    write_polygons,
)
from tests.metrics.drawn_masks import (
    NUMBERS,
    THINGS,
    Scene,
    instance_masks,
    random_scenes,
    update,
)

SCRIPT = "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling"
TOLERANCE = 1e-12
LABEL_NAMES = [label.name for label in LABELS] + ["cargroup", "persongroup", "skygroup", "car"]


@pytest.fixture
def scores_of_script(tmp_path, monkeypatch):
    """A function that writes scenes as files, and lets the script evaluate them."""
    script = script_of(monkeypatch)

    def evaluate(scenes):
        files = [(written(scene, tmp_path), truth_of(scene, tmp_path)) for scene in scenes]
        arguments = script_arguments(script, tmp_path, tmp_path)
        return script.evaluateImgLists(*map(list, zip(*files, strict=True)), arguments)

    return evaluate


def script_of(monkeypatch):
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # gone from NumPy 2.4; the script's
    script = importlib.import_module(SCRIPT)
    # It would write the matches into the working folder, and NumPy's numbers are no JSON.
    monkeypatch.setattr(script, "writeDict2JSON", lambda *_: None)
    return script


def script_arguments(script, predictions, folder):
    arguments = script.CArgs()
    vars(arguments).update(vars(script.args))
    arguments.predictionPath = str(predictions)
    arguments.gtInstancesFile = str(folder / "instances.json")
    arguments.JSONOutput, arguments.quiet = False, True
    return arguments


def truth_of(scene, folder):
    """The path of its instance ids."""
    path = folder / f"{scene.image_id}.png"
    Image.fromarray(scene.ids).save(path)
    return str(path)


def written(scene, folder):
    """The path of its predictions."""
    lines = []
    for place, (mask, label, score) in enumerate(scene.found):
        name = f"{scene.image_id}_{place}.png"
        Image.fromarray(mask.astype(np.uint8)).save(folder / name)
        lines.append(f"{name} {NUMBERS[label]} {score!r}\n")
    path = folder / f"{scene.image_id}.txt"
    path.write_text("".join(lines))
    return str(path)


def new_metric():
    metric = CityscapesAveragePrecision()
    metric.class_names = tuple(THINGS)
    return metric


def assert_equal(metric, theirs):
    scores = metric.compute()
    np.testing.assert_allclose(
        metric.average_precisions, theirs["resultApMatrix"][0], rtol=0, atol=TOLERANCE
    )
    averages = theirs["averages"]
    expected = {"map": averages["allAp"], "map_50": averages["allAp50%"]}
    for name, row in averages["classes"].items():
        expected |= {f"map_{name}": row["ap"], f"map_50_{name}": row["ap50%"]}
    assert scores.keys() == expected.keys()
    for key, value in expected.items():
        assert scores[key].item() == pytest.approx(value, rel=0, abs=TOLERANCE, nan_ok=True), key


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@pytest.mark.parametrize("seed", range(30))
def test_every_number_is_that_of_the_script(scores_of_script, seed):
    """Of one to twelve scenes; with all classes, or with few of which many are then missing."""
    classes = NUMBERS[: [8, 2, 1][seed % 3]]
    scenes = random_scenes(seed, count=1 + seed % 12, classes=classes)
    metric = new_metric()
    update(metric, scenes[::-1])

    assert_equal(metric, scores_of_script(scenes))


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@pytest.mark.parametrize("seed", range(3))
def test_what_our_reader_reads_scores_like_the_script(scores_of_script, seed, tmp_path):
    scenes = random_scenes(seed, count=6)
    for scene in scenes:
        write_image(tmp_path, scene.image_id, size=scene.ids.shape)
        write_ids(tmp_path, scene.image_id, scene.ids)
    reader = CityscapesReader(tmp_path, ["train"], annotations="instance_ids")
    metric = new_metric()
    for rank, scene in enumerate(scenes):
        sample, _ = reader.read(rank)
        rles = [coded(item.mask) for item in sample.objects]
        target = scene.target()._replace(
            labels=torch.tensor([item.label for item in sample.objects], dtype=torch.int64),
            is_crowd=torch.tensor([item.is_crowd for item in sample.objects], dtype=torch.bool),
            masks=instance_masks(rles, scene.ids.shape),
            void=sample.void,
        )
        metric.update([scene.detections()], [target])

    assert_equal(metric, scores_of_script(scenes))


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@pytest.mark.parametrize("seed", range(6))
def test_our_score_of_a_results_folder_is_the_script_s(monkeypatch, seed, tmp_path):
    """It finds the files by itself, as it does for a submission."""
    script = script_of(monkeypatch)
    truths, predictions = tmp_path / "truths", tmp_path / "results"
    predictions.mkdir()
    for number, scene in enumerate(random_scenes(seed, count=8)):
        scene = scene._replace(image_id=f"ulm_{number:06}_000019")
        write_ids(truths, scene.image_id, scene.ids, split="val")
        written(scene, predictions)
    arguments = script_arguments(script, predictions, tmp_path)
    paths = [str(path) for path in sorted(truths.rglob("*_instanceIds.png"))]
    files = [script.getPrediction(path, arguments) for path in paths]
    theirs = script.evaluateImgLists(files, paths, arguments)["averages"]

    ours = cityscapes_scores(truths / "gtFine", predictions)

    same = {"rel": 0, "abs": TOLERANCE, "nan_ok": True}
    assert ours["AP"] == pytest.approx(theirs["allAp"], **same)
    assert ours["AP50"] == pytest.approx(theirs["allAp50%"], **same)
    for name, row in theirs["classes"].items():
        assert ours["per_class"][name]["AP"] == pytest.approx(row["ap"], **same), name
        assert ours["per_class"][name]["AP50"] == pytest.approx(row["ap50%"], **same), name


def coded(mask):
    return mask | {"counts": mask["counts"].encode()}


def test_where_all_predictions_are_ignored_the_script_fails_and_we_say_zero(scores_of_script):
    """A car that is missed, and a prediction in void: no point is left for the script's curve."""
    ids = np.full((60, 90), 7, np.uint16)
    ids[:20, :20], ids[30:50, :20] = 26000, 0
    scene = Scene("frame", ids, [(ids == 0, NUMBERS.index(26), 0.5)])
    metric = new_metric()
    update(metric, [scene])

    with pytest.raises(IndexError):
        scores_of_script([scene])
    assert metric.compute()["map_car"] == 0


def test_our_table_of_classes_is_theirs():
    from cityscapesscripts.helpers.labels import labels

    ours = [(one.name, one.id, one.train_id, one.has_instances, one.is_ignored) for one in LABELS]
    theirs = [(o.name, o.id, o.trainId, o.hasInstances, o.ignoreInEval) for o in labels]
    assert ours == theirs


@pytest.mark.parametrize("seed", range(40))
def test_polygons_and_pngs_give_the_same_objects_and_are_drawn_as_the_scripts_draw(seed, tmp_path):
    from cityscapesscripts.helpers.annotation import Annotation
    from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
    from cityscapesscripts.preparation.json2labelImg import createLabelImage

    objects = random_objects(np.random.default_rng(seed), LABEL_NAMES)
    write_image(tmp_path, "ulm_0_0")
    path = write_polygons(tmp_path, "ulm_0_0", objects)
    annotation = Annotation()
    annotation.fromJsonFile(path)
    ids = np.array(createInstanceImage(annotation, "ids")).astype(np.uint16)
    write_ids(tmp_path, "ulm_0_0", ids)
    labels = np.array(createLabelImage(annotation, "ids"))
    write_ids(tmp_path, "ulm_0_0", labels, end="labelIds.png")

    drawn, read = (
        CityscapesReader(tmp_path, ["train"], annotations=kind).read(0)
        for kind in ("polygons", "instance_ids")
    )
    semantic, _ = CityscapesReader(tmp_path, ["train"], task="semantic").read(0)

    np.testing.assert_array_equal(draw_instance_ids(path, "").numbers, ids)
    assert drawn == read
    assert drawn[1] == []
    train_ids = np.array(createLabelImage(annotation, "trainIds"))
    np.testing.assert_array_equal(Image.open(io.BytesIO(semantic.label_png)), train_ids)
