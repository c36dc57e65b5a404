"""What is no mistake in itself, and often turns out to be one in the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from absl import logging

_TAG = re.compile(r":(?P<tag>[\w][\w.-]*)$")
_PATHS = ("input_base", "schema_file")  # of ExampleGens and ImportSchemaGen


def give(pipeline: Any, images: Iterable[str]) -> None:
    """Logs them as warnings."""
    for image in images:
        if is_moving(image):
            logging.warning(
                "image %s: a node of the cluster may have an older one of this name. Give a version or a digest, or "
                'TrainerResources(image_pull_policy="Always").', image,
            )  # fmt: skip
    for node in pipeline.components:
        for name in _PATHS:
            path = getattr(node, "exec_properties", {}).get(name)
            if isinstance(path, str) and path.startswith(("/", "./")):
                logging.warning(
                    "%s.%s: %s is looked for inside of the container, in its image or on a volume that is mounted "
                    "there; not on this machine.", node.id, name, path,
                )  # fmt: skip


def is_moving(image: str) -> bool:
    """Whether an image's name may stand for another image tomorrow: without a tag, or with `latest`."""
    if "@" in image:
        return False
    tag = _TAG.search(image.rpartition("/")[2])
    return tag is None or tag["tag"] == "latest"
