"""The measurement of packing, small."""

import argparse
import json

from lit_detseg.bench.pack import add_arguments, run, write_annotations
from lit_detseg.data.readers.coco import CocoReader
from tests.data.shard_sets import each


def test_the_drawn_annotations_are_those_of_coco_in_number_and_length(tmp_path):
    write_annotations(tmp_path, images=50, objects=3000)

    reader = CocoReader(tmp_path / "images", tmp_path / "instances.json")

    assert (len(reader), reader.faults) == (50, ())
    assert sum(len(sample.objects) for sample, faults in each(reader) if not faults) == 3000
    # instances_train2017.json has 448 MB for 860 001 objects, its rows of images included
    assert abs((tmp_path / "instances.json").stat().st_size / 3000 - 520) < 40


def test_a_small_run_reports_what_it_packed(capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)

    numbers = ["--images", "30", "--objects", "200", "--photographs", "9", "--workers", "1"]
    run(parser.parse_args([*numbers, "--json"]))

    first, *photographs = json.loads(capsys.readouterr().out)["packing"]
    assert (first["images"], first["objects"], first["workers"]) == (30, 200, 1)
    assert [(one["images"], one["workers"]) for one in photographs] == [(9, 1)]
    assert all(one["images_per_second"] > 0 for one in (first, *photographs))
    assert all(one["peak_megabytes"] > 10 for one in (first, *photographs))
