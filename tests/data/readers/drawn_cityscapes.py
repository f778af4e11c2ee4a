"""Cityscapes in small: no image of it may be passed on, so we draw the layout ourselves."""

import json

import numpy as np
from PIL import Image

SIZE = (40, 60)  # height, width


def rectangle(label, x1, y1, x2, y2, **more):
    """An object of the JSON, whose pixels are x1 to x2 and y1 to y2, both included."""
    return {"label": label, "polygon": [[x1, y1], [x2, y1], [x2, y2], [x1, y2]], **more}


def write_image(root, name, split="train", size=SIZE):
    folder = root / f"leftImg8bit/{split}/{name.split('_')[0]}"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(folder / f"{name}_leftImg8bit.png")


def annotation_path(root, name, end, split="train"):
    folder = root / f"gtFine/{split}/{name.split('_')[0]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}_gtFine_{end}"


def write_polygons(root, name, objects, split="train", size=SIZE):
    stored = {"imgHeight": size[0], "imgWidth": size[1], "objects": objects}
    path = annotation_path(root, name, "polygons.json", split)
    path.write_text(json.dumps(stored))
    return path


def write_ids(root, name, ids, split="train", end="instanceIds.png"):
    """(H, W) uint16 instance ids, or uint8 label ids."""
    Image.fromarray(ids).save(annotation_path(root, name, end, split))


def random_objects(generator, labels, size=SIZE):
    """Polygons of any shape, also beyond the border, lines and fractions; some are deleted."""
    objects = []
    for _ in range(generator.integers(0, 25)):
        points = generator.integers(2, 8)
        center = generator.integers(0, 60, 2)
        polygon = center + generator.integers(-20, 20, (points, 2))
        if generator.random() < 0.2:
            polygon = polygon + generator.random((points, 2)).round(2)
        label = str(generator.choice(labels))
        item = {"label": label, "polygon": polygon.tolist(), "id": len(objects)}
        if generator.random() < 0.5:
            item["deleted"] = int(generator.random() < 0.2)
        objects.append(item)
    return objects
