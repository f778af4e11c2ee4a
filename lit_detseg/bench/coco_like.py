"""A drawn data set that costs as much to read as COCO: sizes, bytes and points per object alike."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 480, 640
JPEG_QUALITY = 88  # with 4:2:0 chroma and this texture: about 135 kB, COCO's mean being 160 kB
TEXTURE = ((4, 60.0), (16, 40.0), (64, 24.0), (160, 14.0))  # cells across the image, amplitude
NOISE = 12.5  # of each pixel
OBJECTS = 7  # COCO's mean
POINTS = (20, 60)  # of a polygon, from and to
CLASSES = 80


def draw_coco_like(folder: Path, images: int, drawn: Callable[[], None] = lambda: None) -> None:
    """Write `folder/images/*.jpg` and `folder/instances.json`; the same ones each time.

    Args:
        folder: exists.
        images: how many.
        drawn: called after each image.
    """
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, images + 1):
        name = f"{number:012d}.jpg"
        _texture(random).save(folder / "images" / name, quality=JPEG_QUALITY, subsampling="4:2:0")
        rows.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
        for _ in range(OBJECTS):
            annotations.append(_annotation(random, len(annotations) + 1, number))
        drawn()
    categories = [{"id": label + 1, "name": f"class {label}"} for label in range(CLASSES)]
    content = {"images": rows, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content), encoding="utf-8")


def _texture(random: np.random.Generator) -> Image.Image:
    """Spots of all sizes, weaker the smaller they are, as in photographs, and some noise."""
    pixels = np.full((HEIGHT, WIDTH, 3), 120, dtype=np.float32)
    for cells, amplitude in TEXTURE:
        grid = random.random((cells * HEIGHT // WIDTH, cells, 3), dtype=np.float32) * 255
        spots = Image.fromarray(grid.astype(np.uint8)).resize(
            (WIDTH, HEIGHT), Image.Resampling.BICUBIC
        )
        pixels += (np.asarray(spots, dtype=np.float32) - 127) * (amplitude / 127)
    pixels += random.standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32) * NOISE
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _annotation(random: np.random.Generator, number: int, image: int) -> dict[str, Any]:
    """A star-shaped polygon somewhere in the image."""
    radius = random.uniform(15, 110)
    x, y = random.uniform(radius, WIDTH - radius), random.uniform(radius, HEIGHT - radius)
    angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(*POINTS, endpoint=True)))
    radii = radius * random.uniform(0.6, 1.0, len(angles))
    points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1).round(2)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    following = np.roll(points, -1, axis=0)
    twice_area = np.sum(points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0])
    return {
        "id": number,
        "image_id": image,
        "category_id": int(random.integers(1, CLASSES + 1)),
        "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
        "area": round(abs(float(twice_area)) / 2, 2),
        "segmentation": [points.ravel().tolist()],
        "iscrowd": 0,
    }
