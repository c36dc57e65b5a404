"""What is known of a channel's origin when a pipeline is written."""

from __future__ import annotations

from typing import Any

from tfx.types import BaseChannel
from tfx.types.channel import OutputChannel, PipelineOutputChannel

from polytrainer.proto import keys
from polytrainer.proto.examples_are import TRANSFORMED_EXAMPLES


def raw_examples_behind(transform_graph: BaseChannel | None) -> BaseChannel | None:
    """The channel of the Examples that the Transform node has read which makes a transform graph.

    Args:
        transform_graph: An output of TFX's Transform, or of a node with its inputs and outputs.

    Returns:
        None where the graph comes from elsewhere: from a Resolver, an Importer, another pipeline.
    """
    if not isinstance(transform_graph, OutputChannel) or isinstance(transform_graph, PipelineOutputChannel):
        return None
    node: Any = transform_graph.producer_component
    if TRANSFORMED_EXAMPLES not in getattr(node, "outputs", {}):
        return None
    return getattr(node, "inputs", {}).get(keys.EXAMPLES)
