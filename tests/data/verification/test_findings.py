"""All findings are counted; the first of each kind are kept."""

from lit_detseg.data.packing import checks
from lit_detseg.data.verification.findings import (
    SHOWN_OF_A_KIND,
    WARNINGS,
    Finding,
    Findings,
    Kind,
    Problem,
)


def test_a_million_findings_take_the_room_of_a_thousand():
    findings = Findings()
    many = SHOWN_OF_A_KIND + 5
    findings.add(Finding(Kind.BAD_AREA, "0", "set", "x.tar", "k") for _ in range(many))
    findings.add([Finding(Kind.LOOSE_BOX, "3", "set", "x.tar", "k")])
    stored = findings.to_json()
    assert (stored["errors"], stored["warnings"]) == (many, 1)
    assert stored["kinds"] == {"bad_area": many, "loose_box": 1}
    assert len(stored["findings"]) == SHOWN_OF_A_KIND + 1


def test_images_and_files_with_errors_are_counted_once():
    findings = Findings()
    errors = [("a", Kind.BAD_AREA), ("a", Kind.EMPTY_MASK), ("b", Kind.BAD_AREA)]
    findings.add(Finding(kind, "", "set", "x.tar", key) for key, kind in errors)
    findings.add([Finding(Kind.WRONG_CHECKSUM, "", "set", "x.tar")] * 2)
    findings.add([Finding(Kind.LOOSE_BOX, "", "set", "x.tar", "c")])  # a warning
    assert findings.bad_images == {("set", "a"), ("set", "b")}
    assert findings.bad_files == {("set", "x.tar")}


def test_a_finding_says_where_it_is():
    problem = Problem(Kind.BAD_AREA, "the area is 0 pixels", "object 3 (cat)")
    finding = Finding.at(problem, "sets/val", "x.tar", "k")
    assert str(finding) == "sets/val/x.tar, k, object 3 (cat): the area is 0 pixels"
    assert finding.to_json() == {
        "kind": "bad_area",
        "severity": "error",
        "shards": "sets/val",
        "file": "x.tar",
        "key": "k",
        "object": "object 3 (cat)",
        "detail": "the area is 0 pixels",
    }


def test_what_packing_finds_in_objects_has_a_name_here():
    of_readers = {"unknown_image", "missing_annotation"}  # rows of files that shards do not have
    assert {str(kind) for kind in checks.Kind} - {str(kind) for kind in Kind} == of_readers
    assert Kind.IMAGE_IN_TWO_SETS not in WARNINGS
