"""Tars as others make them: any names, any JSON, in any order."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2

from tests.data.verification.crafted import picture

HEIGHT, WIDTH = 40, 60


def jpeg(seed: int) -> bytes:
    return cv2.imencode(".jpg", picture(seed))[1].tobytes()


def row(category: Any = 3, box: Any = (10, 10, 20, 20), **more: Any) -> dict[str, Any]:
    """A row of COCO's annotations."""
    return {"bbox": list(box), "category_id": category, **more}


def write_tar(
    path: Path, members: Iterable[tuple[str, Any]], form: int = tarfile.PAX_FORMAT
) -> Path:
    """Write members: bytes as they are, all else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path
