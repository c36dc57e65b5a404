"""Pages in a notebook: TFX's InteractiveContext, in IPython's shell, shows them inline."""

from __future__ import annotations

import builtins
import subprocess
import sys
from html import unescape
from textwrap import dedent
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.line

MODULE = """
    import tensorflow as tf

    def run_fn(fn_args):
        module = tf.Module()
        module.double = tf.function(lambda x: {"y": 2.0 * x}, input_signature=[tf.TensorSpec([None], tf.float32)])
        tf.saved_model.save(module, fn_args.serving_model_dir, signatures={"serving_default": module.double})
        return {"accuracy": 0.8125}
"""


@pytest.fixture(scope="module")
def shell():
    """IPython's shell in this process, as a notebook's kernel has it."""
    pytest.importorskip("IPython")
    pytest.importorskip("nbformat", reason="TFX's InteractiveContext imports it: pip install nbformat")
    from IPython.core.interactiveshell import InteractiveShell

    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()
    vars(builtins).pop("__IPYTHON__", None)
    vars(builtins).pop("get_ipython", None)


@pytest.fixture(scope="module")
def notebook(shell, tmp_path_factory):
    """A Trainer that an InteractiveContext has run; `shown(channel)` returns what `context.show` displays."""
    from IPython.utils.capture import capture_output
    from stores import write_examples
    from tfx import v1 as tfx
    from tfx.orchestration import metadata
    from tfx.orchestration.experimental.interactive.interactive_context import InteractiveContext
    from tfx.types import standard_artifacts

    from polytrainer import Trainer

    root = tmp_path_factory.mktemp("notebook")
    (root / "notebook_module.py").write_text(dedent(MODULE))
    context = InteractiveContext(pipeline_name="notebook", pipeline_root=str(root / "pipeline"))
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(root / "examples"), '["train", "eval"]'
    write_examples(root / "examples")
    with metadata.Metadata(context.metadata_connection_config) as store:
        store.publish_artifacts([examples])
    trainer = Trainer(
        module_file=str(root / "notebook_module.py"),
        examples=tfx.dsl.Channel(type=standard_artifacts.Examples).set_artifacts([examples]),
        train_args=tfx.proto.TrainArgs(num_steps=1),
        eval_args=tfx.proto.EvalArgs(num_steps=1),
    )
    context.run(trainer)

    def shown(channel):
        with capture_output() as captured:
            context.show(channel)
        return "".join(str(output.data.get("text/html", "")) for output in captured.outputs)

    def begin_another():
        InteractiveContext(pipeline_name="other", pipeline_root=str(root / "other"))

    return SimpleNamespace(trainer=trainer, shown=shown, root=root, begin_another=begin_another)


def channel_of(folder, **files):
    from tfx.types import Channel, standard_artifacts

    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.html").write_text(content)
    evaluation = standard_artifacts.ModelEvaluation()
    evaluation.uri = str(folder)
    return Channel(type=standard_artifacts.ModelEvaluation).set_artifacts([evaluation])


def test_the_report_of_a_trainer_is_shown_in_a_frame_that_runs_nothing(notebook):
    shown = notebook.shown(notebook.trainer.outputs["model_run"])
    assert '<div><iframe sandbox srcdoc="' in shown
    page = unescape(shown)
    assert "What ran" in page
    assert "0.8125" in page


def test_the_page_of_a_comparison_is_shown(notebook):
    channel = channel_of(notebook.root / "compared", comparison='<p title="it\'s">keras is the best</p>')
    shown = notebook.shown(channel)
    assert '<p title="it\'s">keras is the best</p>' in unescape(shown)
    assert "<p" not in shown
    notebook.begin_another()  # which registers TFX's own visualizations
    assert notebook.shown(channel) == shown


def test_what_an_evaluator_has_written_is_shown_as_tfx_shows_it(notebook, monkeypatch):
    import tensorflow_model_analysis as tfma

    monkeypatch.setattr(tfma, "load_eval_result", lambda uri: uri)
    monkeypatch.setattr(tfma.view, "render_slicing_metrics", lambda result: None)
    shown = notebook.shown(channel_of(notebook.root / "evaluated"))
    assert "html[theme=dark]" in shown  # what TFX's own visualization displays first


def test_a_run_without_a_page_says_why(notebook):
    from tfx.types import Channel, standard_artifacts

    run = standard_artifacts.ModelRun()
    run.uri = str(notebook.root)
    shown = notebook.shown(Channel(type=standard_artifacts.ModelRun).set_artifacts([run]))
    assert "There is no report.html in this artifact. A node writes it where polytrainer[report] is installed." in shown


def test_outside_of_a_notebook_nothing_of_it_is_imported():
    code = """
        import sys
        from polytrainer.components import notebook
        notebook.register_visualizations()
        wrong = {"IPython", "nbformat"} & set(sys.modules)
        wrong |= {name for name in sys.modules if name.startswith("tfx.orchestration.experimental.interactive")}
        sys.exit(str(wrong) if wrong else 0)
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True)
