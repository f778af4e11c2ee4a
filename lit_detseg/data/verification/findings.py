"""What can be wrong with shards: how it is called, how bad it is, how it is counted."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

SHOWN_OF_A_KIND = 1000  # findings that are kept; all are counted


class Severity(StrEnum):
    """Whether the shards may be used."""

    ERROR = "error"  # something is damaged, contradicts itself or spoils an evaluation
    WARNING = "warning"  # worth a look; training and evaluation are defined


class Kind(StrEnum):
    """What is wrong. Those of `packing.checks` have the same names there."""

    # Files.
    MISSING_FILE = "missing_file"
    WRONG_FILE_SIZE = "wrong_file_size"
    WRONG_CHECKSUM = "wrong_checksum"
    DAMAGED_TAR = "damaged_tar"
    WRONG_MEMBERS = "wrong_members"
    STRAY_FILE = "stray_file"
    CHECK_FAILED = "check_failed"
    UNREADABLE_PROPOSALS = "unreadable_proposals"
    STALE_PROPOSALS = "stale_proposals"
    # The index against what it describes.
    WRONG_SAMPLE_COUNT = "wrong_sample_count"
    DUPLICATE_KEY = "duplicate_key"
    WRONG_CLASS_COUNTS = "wrong_class_counts"
    WRONG_PIXEL_COUNTS = "wrong_pixel_counts"
    # Images, records and label maps.
    UNREADABLE_IMAGE = "unreadable_image"
    WRONG_IMAGE_SIZE = "wrong_image_size"
    UNREADABLE_ANNOTATION = "unreadable_annotation"
    WRONG_IMAGE_ID = "wrong_image_id"
    MALFORMED_VOID = "malformed_void"
    UNREADABLE_LABELS = "unreadable_labels"
    WRONG_LABELS_SIZE = "wrong_labels_size"
    UNKNOWN_PIXEL_CLASS = "unknown_pixel_class"
    # Objects.
    MALFORMED_OBJECT = "malformed_object"
    UNKNOWN_CLASS = "unknown_class"
    NON_FINITE_BOX = "non_finite_box"
    INVERTED_BOX = "inverted_box"
    ZERO_SIZE_BOX = "zero_size_box"
    BOX_OUTSIDE_IMAGE = "box_outside_image"
    BAD_AREA = "bad_area"
    AREA_LARGER_THAN_BOX = "area_larger_than_box"
    DUPLICATE_OBJECT = "duplicate_object"
    MALFORMED_MASK = "malformed_mask"
    EMPTY_MASK = "empty_mask"
    FLAT_POLYGON = "flat_polygon"
    MASK_APART_FROM_BOX = "mask_apart_from_box"
    LOOSE_BOX = "loose_box"
    CROWD_OF_POLYGONS = "crowd_of_polygons"
    # Images against each other.
    DUPLICATE_IMAGE = "duplicate_image"
    NEAR_DUPLICATE_IMAGE = "near_duplicate_image"
    IMAGE_IN_TWO_SETS = "image_in_two_sets"
    NEAR_DUPLICATE_IN_TWO_SETS = "near_duplicate_in_two_sets"
    # Sets against each other.
    DIFFERENT_CLASSES = "different_classes"
    CLASSES_WITHOUT_OBJECTS = "classes_without_objects"

    @property
    def severity(self) -> Severity:
        """The same for all findings of a kind."""
        return Severity.WARNING if self in WARNINGS else Severity.ERROR


WARNINGS = {
    Kind.STRAY_FILE,
    Kind.STALE_PROPOSALS,
    Kind.AREA_LARGER_THAN_BOX,
    Kind.DUPLICATE_OBJECT,
    Kind.FLAT_POLYGON,
    Kind.LOOSE_BOX,
    Kind.CROWD_OF_POLYGONS,
    Kind.DUPLICATE_IMAGE,
    Kind.NEAR_DUPLICATE_IMAGE,
    Kind.NEAR_DUPLICATE_IN_TWO_SETS,
    Kind.CLASSES_WITHOUT_OBJECTS,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one sample or file, which knows where it belongs."""

    kind: Kind
    detail: str  # the values
    object: str = ""  # which object of the sample


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where."""

    kind: Kind
    detail: str
    shards: str  # the set, as the user names it
    file: str = ""  # in the folder of the set
    key: str = ""  # of the sample
    object: str = ""

    @classmethod
    def at(cls, problem: Problem, shards: str, file: str, key: str = "") -> "Finding":
        """A problem with its place."""
        return cls(problem.kind, problem.detail, shards, file, key, problem.object)

    def __str__(self) -> str:
        file = f"{self.shards}/{self.file}" if self.file else self.shards
        where = ", ".join(part for part in (file, self.key, self.object) if part)
        return f"{where}: {self.detail}"

    def to_json(self) -> dict[str, str]:
        """For programs."""
        return {**asdict(self), "kind": str(self.kind), "severity": str(self.kind.severity)}


@dataclass
class Findings:
    """All findings counted, the first of each kind kept."""

    counts: Counter[Kind] = field(default_factory=Counter)
    kept: dict[Kind, list[Finding]] = field(default_factory=dict)
    bad_images: set[tuple[str, str]] = field(default_factory=set)  # set and key, of errors
    bad_files: set[tuple[str, str]] = field(default_factory=set)  # of errors in no single image

    def add(self, findings: Iterable[Finding]) -> None:
        """Count more findings."""
        for finding in findings:
            self.counts[finding.kind] += 1
            kept = self.kept.setdefault(finding.kind, [])
            if len(kept) < SHOWN_OF_A_KIND:
                kept.append(finding)
            if finding.kind.severity is Severity.ERROR:
                if finding.key:
                    self.bad_images.add((finding.shards, finding.key))
                else:
                    self.bad_files.add((finding.shards, finding.file))

    def count(self, severity: Severity) -> int:
        """Findings of a severity."""
        return sum(n for kind, n in self.counts.items() if kind.severity is severity)

    def to_json(self) -> dict[str, Any]:
        """Counts of all, and the first `SHOWN_OF_A_KIND` of each kind."""
        return {
            "errors": self.count(Severity.ERROR),
            "warnings": self.count(Severity.WARNING),
            "kinds": {str(kind): self.counts[kind] for kind in Kind if kind in self.counts},
            "findings": [finding.to_json() for kind in Kind for finding in self.kept.get(kind, [])],
        }
