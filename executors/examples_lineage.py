"""Whether a node's Examples are raw or transformed, as far as their artifacts tell."""

from __future__ import annotations

from tfx.types import Artifact

from polytrainer.proto import keys
from polytrainer.proto.examples_are import RAW, TRANSFORMED, TRANSFORMED_EXAMPLES

Artifacts = dict[str, list[Artifact]]

_OF_EXAMPLE_GEN = "input_fingerprint"  # what TFX's ExampleGens note of their input, and nobody else does


def examples_are(input_dict: Artifacts) -> str | None:
    """What the Examples of a node are, by the artifacts alone.

    They are transformed where they are an output `transformed_examples`, as the artifact's name or folder says: TFX and
    KFP put the key of an output into both. They are raw where they are those that Transform has read, or those of an
    ExampleGen.

    Args:
        input_dict: Of the node; `raw_examples` are those that Transform has read.

    Returns:
        "raw", "transformed", or None where artifacts do not tell, or tell different things of several.
    """
    raw_uris = {artifact.uri for artifact in input_dict.get(keys.RAW_EXAMPLES) or []}
    kinds = {_kind(artifact, raw_uris) for artifact in input_dict[keys.EXAMPLES]}
    return kinds.pop() if len(kinds) == 1 else None


def _kind(artifact: Artifact, raw_uris: set[str]) -> str | None:
    if artifact.uri in raw_uris or artifact.has_custom_property(_OF_EXAMPLE_GEN):
        return RAW
    words = [*str(artifact.name or "").split(":"), *artifact.uri.rstrip("/").split("/")[-2:]]
    return TRANSFORMED if TRANSFORMED_EXAMPLES in words else None
