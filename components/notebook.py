"""Pages of the components in a notebook: `context.show(channel)` of TFX's InteractiveContext shows them inline."""

from __future__ import annotations

import builtins
import html
import os
from typing import Any

from tfx.types import Artifact

TRAINING_PAGE, COMPARISON_PAGE = "report.html", "comparison.html"
_NO_PAGE = "There is no {} in this artifact. A node writes it where polytrainer[report] is installed."
_STYLE = "width: 100%; height: 45em; border: 0"


def register_visualizations() -> None:
    """Has `context.show` show report.html of a ModelRun and comparison.html of a ModelEvaluation.

    Only in IPython: elsewhere nothing is imported. It holds for contexts that are made later, too, which register TFX's
    own visualizations anew. A ModelEvaluation without our page, an Evaluator's, is shown as before.
    """
    if not getattr(builtins, "__IPYTHON__", False):
        return
    from tfx.orchestration.experimental.interactive import standard_visualizations, visualizations
    from tfx.types import standard_artifacts

    registry = visualizations.get_registry()
    before = registry.get_visualization(standard_artifacts.ModelEvaluation.TYPE_NAME)
    if getattr(before, "is_polytrainers", False):
        return
    show_evaluation = before or standard_visualizations.ModelEvaluationVisualization()

    class ModelRunVisualization(visualizations.ArtifactVisualization):  # type: ignore[misc]
        """Shows the page of a training."""

        ARTIFACT_TYPE = standard_artifacts.ModelRun

        def display(self, artifact: Artifact) -> None:
            _display(_iframe(artifact, TRAINING_PAGE) or html.escape(_NO_PAGE.format(TRAINING_PAGE)))

    class ComparisonVisualization(visualizations.ArtifactVisualization):  # type: ignore[misc]
        """Shows the page of a comparison; what an Evaluator has written is shown as before."""

        ARTIFACT_TYPE = standard_artifacts.ModelEvaluation
        is_polytrainers = True

        def display(self, artifact: Artifact) -> None:
            if frame := _iframe(artifact, COMPARISON_PAGE):
                _display(frame)
            else:
                show_evaluation.display(artifact)

    if registry.get_visualization(standard_artifacts.ModelRun.TYPE_NAME) is None:  # else it is the user's own
        registry.register(ModelRunVisualization)
    registry.register(ComparisonVisualization)
    others = standard_visualizations.STANDARD_VISUALIZATIONS - {standard_visualizations.ModelEvaluationVisualization}
    standard_visualizations.STANDARD_VISUALIZATIONS = frozenset({*others, ComparisonVisualization})


def _iframe(artifact: Artifact, name: str) -> str | None:
    """A page in a frame of its own, so that its style is not the notebook's, and it runs nothing; None without one."""
    from tfx.dsl.io import fileio

    path = os.path.join(artifact.uri, name)
    if not fileio.exists(path):
        return None
    with fileio.open(path, "rb") as file:
        page = html.escape(file.read().decode())
    # IPython warns of HTML that begins with an iframe
    return f'<div><iframe sandbox srcdoc="{page}" style="{_STYLE}"></iframe></div>'


def _display(content: str) -> None:
    from IPython.display import HTML, display

    displayed: Any = HTML(content)
    display(displayed)
