"""What a node is called."""

from __future__ import annotations

from typing import Any


def names_of(context: Any) -> dict[str, str]:
    """Of pipeline, run and node, as far as the runner has told them.

    Args:
        context: The executor's; None outside of a pipeline.
    """
    node, pipeline = getattr(context, "pipeline_node", None), getattr(context, "pipeline_info", None)
    found = {
        "pipeline": pipeline.id if pipeline else "",
        "run": getattr(context, "pipeline_run_id", None) or "",
        "node": node.node_info.id if node else "",
    }
    return {name: str(value) for name, value in found.items() if value}
