"""What a page says of one image."""

import io

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys

from lit_detseg.data import ShardDataModule
from lit_detseg.data.records import Object, RawSample
from lit_detseg.data.shards import ShardReader
from lit_detseg.reports.page_entries import EntryWriter
from lit_detseg.reports.page_images import class_colours
from lit_detseg.reports.training_views import TrainingViews
from lit_detseg.structures import UserError
from tests.data.shard_sets import ANIMALS, raw_sample, write_shards
from tests.reports.page_sets import CAT, IMAGES

BLACK = np.zeros((40, 60, 3), np.uint8)
SQUARE = [[10, 10, 20, 10, 20, 20, 10, 20]]
OBJECTS = [
    Object((10, 10, 20, 20), 1, 99.75, mask=SQUARE, source_id="x7"),
    Object((30, 5, 50, 35), 0, 600.0, is_crowd=True),
]


def entry(shards, folder, views=1, **settings):
    """The first image of a set, as a page tells of it."""
    data = ShardDataModule(str(shards), total_batch_size=1, num_workers=0, masks=True, **settings)
    loader = data.train_dataloader()
    training = TrainingViews(loader.batches, loader.order)
    folder.mkdir()
    writer = EntryWriter(ShardReader(shards), training, folder, 480, class_colours(ANIMALS))
    return writer.write(0, training.sightings(np.array([0]), views)[0])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("entries")
    shards = write_shards(folder / "set", [raw_sample("k", BLACK, OBJECTS)])
    return entry(shards, folder / "images"), folder / "images"


def test_objects_are_told_as_stored(written):
    told, _ = written
    assert (told["key"], told["height"], told["width"]) == ("k", 40, 60)
    assert told["objects"] == [
        {
            "label": 1,
            "box": [10, 10, 20, 20],
            "mask": {"paths": ["M10 10 20 10 20 20 10 20Z"]},
            "area": 99.8,
            "size": "small",
            "flags": [],
            "source_id": "x7",
            "learned": True,
        },
        {
            "label": 0,
            "box": [30, 5, 50, 35],
            "mask": None,
            "area": 600.0,
            "size": "small",
            "flags": ["crowd"],
            "source_id": None,
            "learned": False,
        },
    ]


def test_views_hold_what_is_learned(written):
    told, folder = written
    (view,) = told["views"]
    assert (view["epoch"], view["position"]) == (0, 0)
    assert view["objects"] == [
        {"label": 1, "box": [10, 10, 20, 20], "mask": {"paths": ["M10 10 20 10 20 20 10 20Z"]}}
    ]
    assert {path.name for path in folder.iterdir()} == {told["file"], view["file"]}
    assert told["void"] is told["classes"] is None


def test_what_counts_for_nothing_is_outlined(tmp_path):
    from pycocotools import mask as coco_mask

    region = np.zeros((40, 60), np.uint8, order="F")
    region[:, 50:] = 1
    rle = coco_mask.encode(region)
    void = {"size": [40, 60], "counts": rle["counts"].decode("ascii")}
    sample = raw_sample("k", BLACK)
    shards = write_shards(tmp_path / "set", [RawSample(**{**vars(sample), "void": void})])
    assert entry(shards, tmp_path / "images")["void"] == {"paths": ["M50 0H60V40H50Z"]}


def test_classes_of_pixels_are_a_picture(tmp_path):
    label = np.full((40, 60), 255, np.uint8)
    label[:, :30] = 1
    png = io.BytesIO()
    Image.fromarray(label).save(png, "PNG")
    sample = RawSample(**{**vars(raw_sample("k", BLACK)), "label_png": png.getvalue()})
    told = entry(write_shards(tmp_path / "set", [sample]), tmp_path / "images")

    shown = np.asarray(Image.open(tmp_path / "images" / told["classes"]).convert("RGBA"))
    assert shown[20, 10].tolist() == [*class_colours(ANIMALS)[1], 255]
    assert shown[20, 50, 3] == 0


def test_a_mask_that_cannot_be_drawn_names_its_image(tmp_path):
    shards = write_shards(tmp_path / "set", [raw_sample("k", BLACK, OBJECTS[:1])])
    broken = {"size": [40, 60], "counts": "04"}
    reader = ShardReader(shards)
    record = reader.record(0)
    reader.read = lambda sample: (
        BLACK,
        type(record)(**{**vars(record), "objects": (Object((0, 0, 9, 9), 0, 81.0, mask=broken),)}),
    )
    writer = EntryWriter(reader, None, tmp_path, 480, class_colours(ANIMALS))
    with pytest.raises(UserError, match="Image k: a mask cannot be drawn"):
        writer.write(0, [])


def test_boxes_are_drawn_where_they_are_annotated(opened):
    for key, objects in IMAGES.items():
        assert opened.boxes(key) == sorted(item.box for item in objects)


def test_a_click_enlarges_and_the_keyboard_goes_on(opened):
    opened.click(f".class-row[data-label='{CAT}']")
    opened.click(".card[data-key='a'] .frame")
    rows = [row.text for row in opened.all("#detail .objects tbody tr")]
    assert len(rows) == 2
    assert rows[0].split("\n")[0].startswith("cat 20.0 40.0 40.0 60.0 400 (small)")
    keys = opened.driver.switch_to.active_element

    keys.send_keys(Keys.ARROW_RIGHT)
    assert opened.one("#detail-key").text == "b two"
    assert "difficult, not trained on" in opened.one("#detail").text
    opened.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert opened.one("#detail-key").text == "a"  # round the two that match
    opened.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not opened.one("#detail").is_displayed()


def test_the_enlarged_image_has_all_views(opened):
    opened.click(".card[data-key='c'] .frame")
    names = [e.text for e in opened.all("#detail .strip button")]
    assert names == ["stored", "epoch 0", "epoch 1", "epoch 2"]

    opened.all("#detail .strip button")[1].click()
    assert "epoch 0, position" in opened.one("#detail").text
    assert len(opened.all("#detail .objects tbody tr")) == 1  # the crowd is not trained on
