"""Files of features: whole or not there, and of nothing but what they say."""

import numpy as np
import pytest
import torch

from lit_detseg.modules.rcnn_feature_cache import FeatureCache, feature_identity
from lit_detseg.structures import UserError
from tests.tiny_detection import tiny_rcnn, tiny_spp_net

REGIONS = torch.tensor([[0.0, 0, 10, 10], [1.5, 2.25, 30.125, 40]])


@pytest.fixture
def model():
    return tiny_rcnn()


@pytest.fixture
def cache(model, tmp_path):
    return FeatureCache.create(tmp_path / "cache", model, "float16")


def features(model, count=2):
    return torch.arange(count * model.num_pooled).reshape(count, -1) / 8


def test_what_is_written_is_read(cache, model):
    cache.write("image", REGIONS, features(model))
    assert cache.holds("image", REGIONS)
    found = cache.read("image", REGIONS)
    assert found.dtype == torch.float16
    assert found.equal(features(model).half())
    assert cache.read("image", REGIONS, torch.tensor([1])).equal(found[1:])


def test_a_region_takes_its_box_and_its_numbers(cache, model):
    assert cache.row_bytes == 4 * 4 + 2 * model.num_pooled
    cache.write("image", REGIONS, features(model))
    size = cache.path("image").stat().st_size
    assert 2 * cache.row_bytes < size < 2 * cache.row_bytes + 400  # and NumPy's header


def test_an_image_without_regions_is_an_image(cache, model):
    nothing = torch.zeros(0, 4)
    cache.write("image", nothing, torch.zeros(0, model.num_pooled))
    assert cache.holds("image", nothing)
    assert cache.read("image", nothing).shape == (0, model.num_pooled)


def test_bfloat16_is_stored_as_asked_for(cache, model):
    cache.write("image", REGIONS, features(model).bfloat16())
    assert cache.read("image", REGIONS).equal(features(model).bfloat16().half())


def test_image_ids_may_hold_what_file_names_may_not(cache, model):
    for image_id in ("a/b", "a%2Fb", "..", "ü 1"):
        cache.write(image_id, REGIONS, features(model))
    assert cache.stored_images() == 4
    assert all(path.parent == cache.folder for path in map(cache.path, ("a/b", "..")))


def test_features_of_other_regions_are_refused(cache, model):
    cache.write("image", REGIONS, features(model))
    for other in (REGIONS[:1], REGIONS.flip(0), REGIONS + 1, 64 - REGIONS[:, [2, 1, 0, 3]]):
        with pytest.raises(UserError, match="2 regions, which are not the .* of image image now"):
            cache.read("image", other)
        with pytest.raises(UserError, match="resized or flipped differently"):
            cache.holds("image", other)


def test_a_missing_image_is_named(cache):
    assert not cache.holds("image", REGIONS)
    with pytest.raises(UserError, match="no features of image image"):
        cache.read("image", REGIONS)


def test_a_damaged_file_is_named(cache, model):
    cache.write("image", REGIONS, features(model))
    path = cache.path("image")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"image.npy is damaged .* Delete it"):
        cache.read("image", REGIONS)


def test_what_does_not_fit_into_half_precision_is_refused(cache, model):
    with pytest.raises(UserError, match=r"image image are not finite in float16 \(largest: 1e\+05"):
        cache.write("image", REGIONS, torch.full((2, model.num_pooled), 1e5))
    assert not list(cache.folder.glob("*.npy"))


def test_a_cache_is_opened_when_it_is_complete(cache, model):
    with pytest.raises(UserError, match="not complete: .* Continue it with --ckpt_path last"):
        FeatureCache.open(cache.folder, model)
    cache.write("image", REGIONS, features(model))
    (cache.folder / ".image.npy.1.tmp").touch()
    cache.finish()
    opened = FeatureCache.open(str(cache.folder), model)
    assert opened.precision == "float16"
    assert opened.read("image", REGIONS).equal(features(model).half())
    assert not list(cache.folder.glob(".*.tmp"))


def test_missing_images_are_counted(cache, model):
    cache.write("image", REGIONS, features(model))
    cache.require(1)
    with pytest.raises(UserError, match="features of 1 of 2 images"):
        cache.require(2)


def test_where_there_is_none_none_is_opened(model, tmp_path):
    with pytest.raises(UserError, match="Run the RegionFeatures stage with this `cache` first"):
        FeatureCache.open(tmp_path, model)


def changed_convolution(model):
    with torch.no_grad():
        model.network.backbone.fine.weight[0, 0, 0, 0] += 1e-6
    return model


def changed_mean(model):
    model.network.backbone.normalization.mean += 1
    return model


def changed_crops(model):
    model.network.crops = model.network.crops._replace(context=3)
    return model


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(changed_convolution, "weights .* there and .* here", id="a weight"),
        pytest.param(changed_mean, "weights .* there and .* here", id="how pixels are normalised"),
        pytest.param(changed_crops, "settings .*'context': 2.*'context': 3", id="crops"),
        pytest.param(lambda _: tiny_spp_net(), "detector RCNNDetector there", id="a detector"),
    ],
)
def test_a_stale_cache_is_refused(cache, change, said):
    cache.finish()
    changed = change(tiny_rcnn())
    with pytest.raises(UserError, match=f"another detector: .*{said}"):
        FeatureCache.open(cache.folder, changed)
    with pytest.raises(UserError, match=f"another detector: .*{said}"):
        FeatureCache.create(cache.folder, changed, "float16")


def test_another_precision_is_another_cache(cache, model):
    with pytest.raises(UserError, match="precision float16 there and float32 here"):
        FeatureCache.create(cache.folder, model, "float32")


def test_layers_behind_the_features_may_change(model):
    before = feature_identity(model)
    with torch.no_grad():
        for part in (model.layers.fc6.weight, model.class_logits.bias, model.svms.bias):
            part += 1
    assert feature_identity(model) == before


def test_a_folder_that_cannot_be_made_is_named(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write to .*file/cache"):
        FeatureCache.create(tmp_path / "file" / "cache", model, "float16")


def test_files_are_read_through_a_memory_map(cache, model, monkeypatch):
    """A few rows of a file are all that is read of it."""
    cache.write("image", REGIONS, features(model))
    maps = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda *a, **k: maps.append(load(*a, **k)) or maps[-1])
    cache.read("image", REGIONS, torch.tensor([0]))
    assert isinstance(maps[0], np.memmap)
