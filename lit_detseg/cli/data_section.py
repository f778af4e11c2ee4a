"""The section `data` of a configuration by itself."""

from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning import LightningDataModule


def instantiate_data(section: Namespace) -> Any:
    """The data module that a parsed section describes.

    Args:
        section: `class_path` and `init_args`, as jsonargparse parses them.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    return parser.instantiate_classes(Namespace(data=section)).data
