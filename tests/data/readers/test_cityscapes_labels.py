"""Cityscapes' table of classes (also compared with cityscapesScripts in tests/oracles)."""

from lit_detseg.data.readers.cityscapes_labels import BY_ID, SEMANTIC, THINGS, label_map


def test_the_eight_things_with_their_numbers():
    labels = label_map(THINGS)
    assert labels.names == (
        *("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    )
    assert labels.source_ids == (24, 25, 26, 27, 28, 31, 32, 33)


def test_train_ids_are_the_entries_of_the_semantic_label_map():
    assert [label.train_id for label in SEMANTIC] == list(range(19))
    assert label_map(SEMANTIC).source_ids == tuple(label.id for label in SEMANTIC)


def test_ids_are_the_numbers_0_to_33():
    assert sorted(BY_ID) == list(range(34))
