"""The benchmark runs and compares like with like; what it measures is not a matter for tests."""

from lit_detseg.bench.svd import measure
from lit_detseg.models.backbones.vgg import VGG16


def test_full_and_thin_layers_are_timed():
    times = measure(VGG16(), rois=2, ranks=(8, 4), rounds=1)
    assert min(times.full, times.factorised) > 0
    assert times.to_json()["speed_up"] == times.full / times.factorised
