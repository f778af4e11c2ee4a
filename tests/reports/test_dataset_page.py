"""The page of a data set, in a real browser."""

import json

import pytest

from lit_detseg.data.remote.indexes import read_index
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms import RandomHorizontalFlip
from lit_detseg.reports.dataset_page import (
    MOST_IMAGES,
    PageOptions,
    StoredSet,
    Training,
    write_dataset_page,
)
from lit_detseg.structures import UserError
from tests.data.shard_sets import write_numbered
from tests.reports.page_sets import (
    CAT,
    DOG,
    HOSTILE,
    IMAGES,
    LABELS,
    write_known,
    write_page,
)

KEYS = list(IMAGES)


def test_a_page_opens_from_the_disk_without_complaint_or_network(browser, page):
    browser.complaints(), browser.requests()
    browser.open(page)

    assert browser.cards() == KEYS
    assert browser.complaints() == []
    schemes = {url.partition(":")[0] for url in browser.requests()}
    assert "file" in schemes
    assert schemes <= {"file", "data"}


def test_the_head_counts_the_set(opened):
    facts = {e.text for e in opened.all("#facts div")}
    assert {tuple(sorted(fact.split("\n"))) for fact in facts} == {
        ("5", "images"),
        ("7", "objects"),
        ("3", "classes"),
        ("5", "shown here"),
    }


def test_the_head_says_where_it_comes_from(opened, page):
    opened.click("#about summary")
    text = opened.one("#about-text").text
    assert read_index(page.parent / "set")[1] in text
    assert "RandomHorizontalFlip(probability=1.0)" in text
    assert "<b>command</b>" in text


def filtered(browser, *clicks):
    for selector in clicks:
        browser.click(selector)
    return browser.cards()


@pytest.mark.parametrize(
    ("clicks", "keys", "objects"),
    [
        pytest.param([f".class-row[data-label='{CAT}']"], ["a", "b two"], 2, id="class"),
        pytest.param(
            [f".class-row[data-label='{CAT}']", ".class-row[data-label='2']"],
            ["a", "b two", "d <i>"],
            3,
            id="two classes",
        ),
        pytest.param(["#size-small"], ["a", "b two"], 2, id="small"),
        pytest.param(["#size-medium"], ["c", "d <i>"], 3, id="medium"),
        pytest.param(["#size-medium", "#size-large"], KEYS[:4], 5, id="two sizes"),
        pytest.param(
            ["#size-large", f".class-row[data-label='{DOG}']"],
            ["a"],
            1,
            id="class and size of one object",
        ),
        pytest.param(["#kind [value=empty]"], ["e"], 0, id="without objects"),
        pytest.param(["#kind [value=crowd]"], ["c"], 1, id="crowd"),
        pytest.param(["#kind [value=difficult]"], ["b two"], 1, id="difficult"),
        pytest.param(["#kind [value=truncated]"], ["d <i>"], 1, id="truncated"),
        pytest.param(["#kind [value=unlearned]"], ["b two", "c"], 2, id="left out"),
        pytest.param(["#size-large", "#kind [value=crowd]"], [], 0, id="nothing"),
    ],
)
def test_filters_leave_the_images_that_match(opened, clicks, keys, objects):
    assert filtered(opened, *clicks) == keys

    images = f"{len(keys)} of 5 images"
    assert opened.one("#count").text == f"{images}, {objects} object{'s' * (objects != 1)}"
    assert opened.one("#nothing").is_displayed() == (not keys)
    assert filtered(opened, "#reset") == KEYS


def test_the_menu_of_classes_filters_too(opened):
    opened.click("#class-summary")
    opened.click(f"#class-list input[data-label='{DOG}']")

    assert opened.cards() == ["a", "b two", "c"]
    assert opened.one("#class-summary").text.startswith(LABELS.names[DOG])
    assert opened.one(f".class-row[data-label='{DOG}']").get_attribute("aria-pressed") == "true"


def test_keys_are_searched(opened):
    opened.one("#search").send_keys("B T")
    assert opened.cards() == ["b two"]


def test_objects_that_were_not_asked_for_are_pale(opened):
    opened.click(f".class-row[data-label='{CAT}']")
    labels = {e.get_attribute("data-label") for e in opened.all(".card:not([hidden]) .pale")}
    assert labels == {str(DOG)}


@pytest.mark.parametrize(
    ("layer", "drawn", "count"),
    [
        pytest.param("boxes", "rect.box:not(.under)", 7, id="boxes"),
        pytest.param("masks", ".mask", 6, id="masks"),
        pytest.param("labels", ".tag", 7, id="labels"),
    ],
)
def test_each_layer_can_be_switched_off(opened, layer, drawn, count):
    assert opened.shown(f".card {drawn}") == count
    opened.click(f"#layer-{layer}")
    assert opened.shown(f".card {drawn}") == 0
    opened.click(f"#layer-{layer}")
    assert opened.shown(f".card {drawn}") == count


def test_names_from_the_data_are_text(opened):
    assert opened.script("window.hacked") is None
    assert opened.one(".card[data-key='d <i>'] .tag").text == HOSTILE
    assert opened.one(".card[data-key='d <i>'] .key").text == "d <i>"
    assert opened.all("#grid i") == opened.all("#about b") == []


@pytest.mark.parametrize("training", [False, True], ids=["stored", "training"])
def test_a_phone_shows_everything_without_moving_sideways(browser, page, training):
    browser.open(page, width=360, height=780)
    if training:
        browser.click("#view-training")
    assert browser.script("document.documentElement.scrollWidth") == 360
    assert max(card.rect["x"] + card.rect["width"] for card in browser.all(".card")) <= 360
    browser.click(".card .frame")
    assert browser.script("document.documentElement.scrollWidth") == 360
    stage = browser.one("#detail .picture.large").rect
    assert stage["x"] >= 0
    assert stage["x"] + stage["width"] <= 360


def test_the_page_is_as_dark_as_the_system(browser, page):
    lightness = []
    for dark in (False, True):
        browser.open(page, dark=dark)
        lightness.append(browser.pixels(browser.one("h1")).max(axis=(1, 2))[0])
    assert lightness[0] > 200 > 60 > lightness[1]


def test_controls_have_names(opened):
    unnamed = opened.script(
        "[...document.querySelectorAll('button, input, select, summary')]"
        ".filter((node) => !(node.ariaLabel || node.textContent.trim() || node.labels?.length))"
        ".map((node) => node.outerHTML)"
    )
    assert unnamed == []


def test_a_set_without_objects_has_a_page(browser, tmp_path):
    shards = write_numbered(tmp_path / "set", images=1)
    browser.complaints()
    browser.open(write_page(shards, tmp_path / "page"))

    assert browser.cards() == ["0000"]
    assert browser.counts("object-sizes") == []
    assert browser.complaints() == []
    browser.click("#view-training")
    assert browser.shown(".card img") == 1


def test_the_same_set_gives_the_same_page(tmp_path):
    shards = write_known(tmp_path / "set")
    pages = [write_page(shards, tmp_path / name, [RandomHorizontalFlip(0.5)]) for name in "ab"]
    contents = [
        {path.relative_to(page): path.read_bytes() for path in page.rglob("*") if path.is_file()}
        for page in pages
    ]
    assert contents[0] == contents[1]


def test_progress_ends_at_its_total(tmp_path):
    shards = write_known(tmp_path / "set")
    sets, seen = [StoredSet(str(shards), *read_index(shards))], []
    training = Training("", None, "")
    written = write_dataset_page(
        tmp_path / "page",
        ShardReader(shards),
        sets,
        training,
        "",
        PageOptions(images=3),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 5 + 3) for done in range(1, 9)]
    assert written.images == 3
    files = [path for path in (tmp_path / "page").rglob("*") if path.is_file()]
    assert (written.files, written.bytes) == (len(files), sum(p.stat().st_size for p in files))


def test_the_data_are_one_assignment_of_json(page):
    text = (page / "data.js").read_text(encoding="ascii")
    data = json.loads(text.removeprefix("const DATASET = ").removesuffix(";\n"))
    assert [image["key"] for image in data["images"]] == KEYS


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"images": 0}, id="no image"),
        pytest.param({"images": MOST_IMAGES + 1}, id="too many images"),
        pytest.param({"views": -1}, id="views"),
        pytest.param({"side": 3}, id="side"),
        pytest.param({"seed": -1}, id="seed"),
    ],
)
def test_impossible_pages_are_refused(wrong):
    with pytest.raises(UserError, match=str(next(iter(wrong.values())))):
        PageOptions(**wrong)


def test_the_page_holds_no_way_to_make_markup_of_data(page):
    scripts = [path.read_text(encoding="utf-8") for path in page.glob("*.js")]
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "fetch("):
        assert not any(word in script for script in scripts if not script.startswith("const DATA"))
