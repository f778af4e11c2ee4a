"""Sections of recipes as plain mappings: read, merged, compared."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lit_detseg.errors import UserError

YAML_SUFFIXES = (".yaml", ".yml")


class _Loader(yaml.SafeLoader):
    """PyYAML, with numbers like 1e-4 read as numbers, as the recipes' own parser does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+|[-+]?\.\d+[eE][-+]?\d+"),
    list("-+0123456789."),
)


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        UserError: naming the file, when it is something else.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{path} cannot be read ({what}).") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a mapping of keys to values.")
    return content


def read_sections(sections: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Sections, those that are the path of another file replaced by what it holds.

    Args:
        sections: by name.
        file: in which they stand; paths are relative to it.
    """
    return {
        name: read_mapping(file.parent / value)
        if isinstance(value, str) and value.endswith(YAML_SUFFIXES)
        else value
        for name, value in sections.items()
    }


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one, key by key; where both say something that is no mapping, `over` wins.

    What is said of another class goes with that class: `init_args` beside a new `class_path` are
    not those of the old one.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
    {'a': {'b': 3, 'c': 2}}
    """
    result = dict(base)
    if "class_path" in base and over.get("class_path", base["class_path"]) != base["class_path"]:
        result.pop("init_args", None)
    for key, value in over.items():
        both = isinstance(result.get(key), Mapping) and isinstance(value, Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def difference(before: Any, now: Any) -> str | None:
    """The first setting in which two recipes differ, in words; None when they are the same.

    >>> difference({"trainer": {"max_steps": 10}}, {"trainer": {"max_steps": 20}})
    'trainer.max_steps was 10 and is 20'
    """
    for name in [*(old := dict(_flat(before))), *(new := dict(_flat(now)))]:
        if name not in old or name not in new or old[name] != new[name]:
            was, is_now = (repr(one[name]) if name in one else "not given" for one in (old, new))
            return f"{name} was {was} and is {is_now}"
    return None


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of all that is no mapping, or an empty one."""
    if not isinstance(value, Mapping) or (name and not value):
        yield name, value
        return
    for key, one in value.items():
        yield from _flat(one, f"{name}.{key}" if name else str(key))
