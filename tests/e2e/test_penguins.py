"""The penguins, as `make demo` runs them: CSV to the best of three frameworks' models, pushed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.line]
BACKENDS = ("keras", "estimator", "torch")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """(root folder, what appeared on the screen) of one run of the command line, each model taken all the way."""
    root = tmp_path_factory.mktemp("penguins")
    command = [sys.executable, "-m", "polytrainer.pipelines.local", "--each", "--root", str(root)]
    wide = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root, env=wide)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return root, done.stdout


@pytest.fixture(scope="module")
def store(demo):
    from polytrainer.pipelines.metadata_connection import connect

    return connect(demo[0] / "metadata.sqlite")


@pytest.fixture(scope="module")
def results(store):
    """What came of the Trainers."""
    from polytrainer.pipelines import outcomes

    return {each.backend: each for each in outcomes.outcomes(store, BACKENDS, "penguins")}


@pytest.fixture(scope="module")
def compared(demo):
    """comparison.json."""
    [path] = demo[0].glob("artifacts/ModelComparator/comparison/*/comparison.json")
    return json.loads(path.read_text())


def rows(screen: str) -> dict[str, list[str]]:
    """Cells of the table at the end, by model."""
    lines = [re.split(" {2,}", line.strip()) for line in screen.splitlines()]
    return {row[0]: row[1:] for row in lines if len(row) > 1 and row[0] in (*BACKENDS, "model")}


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_learns_the_species(demo, results, backend):
    assert results[backend].framework.split()[0] == {"torch": "pytorch"}.get(backend, backend)
    assert results[backend].accuracy > 0.9
    assert results[backend].blessed is True
    table = rows(demo[1])
    assert dict(zip(table["model"], table[backend], strict=True))["Evaluator"] == "blessed"


def test_the_three_are_compared_on_the_same_rows_and_the_best_is_pushed(demo, compared):
    root, screen = demo
    losses = {name: each["metrics"]["log_loss"]["trained"] for name, each in compared["candidates"].items()}
    best = min(losses, key=losses.get)
    assert set(losses) == set(BACKENDS)
    assert (compared["best"], compared["blessed"], compared["splits"]) == (best, True, ["eval"])
    assert compared["rows"] == len(records(root / "artifacts/Transform/transformed_examples", "eval"))
    assert [each["slice"] for each in compared["candidates"][best]["slices"]] == [{"island_xf": i} for i in "012"]
    [pushed] = root.glob("pushed/penguins/*")
    [model] = root.glob(f"artifacts/Trainer.{best}/model/*/Format-Serving")
    assert (pushed / "saved_model.pb").read_bytes() == (model / "saved_model.pb").read_bytes()
    assert f"{best} is pushed to pushed/penguins/{pushed.name}\n" in screen


def test_the_terminal_tells_of_all_candidates_and_where_the_pages_are(demo, compared):
    root, screen = demo
    table = rows(screen)
    for name, candidate in compared["candidates"].items():
        cells = dict(zip(table["model"], table[name], strict=True))
        low, high = candidate["intervals"]["log_loss"]
        value = candidate["metrics"]["log_loss"]["trained"]
        assert cells["log_loss"] == f"{value:.3g} [{low:.3g}, {high:.3g}]"
        beside = candidate["against"].get(compared["best"], {}).get("log_loss", {}).get("verdict", "the best")
        assert cells["beside the best"] == beside
    assert f"best by log_loss: {compared['best']}, blessed. There is no baseline to beat" in screen
    for title, pattern in (("comparison", "ModelComparator/comparison/*/comparison.*"), *REPORTS):
        [told] = re.findall(rf"^{title}: (.+)$", screen, re.MULTILINE)
        assert root / told in root.glob(f"artifacts/{pattern}")


REPORTS = [(f"report of {backend}", f"Trainer.{backend}/model_run/*/report.html") for backend in BACKENDS]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_comparison_of_test_results_says_what_the_evaluator_says_of_the_served_model(demo, compared, backend):
    import tensorflow_model_analysis as tfma
    import tensorflow_transform as tft

    [evaluation] = demo[0].glob(f"artifacts/Evaluator.{backend}/evaluation/*")
    [graph] = demo[0].glob("artifacts/Transform/transform_graph/*")
    islands = [word.decode() for word in tft.TFTransformOutput(str(graph)).vocabulary_by_name("island")]
    evaluated = {
        dict(key).get("island"): {name: value["doubleValue"] for name, value in metrics.items()}
        for key, metrics in tfma.load_eval_result(str(evaluation)).get_metrics_for_all_slices().items()
    }
    assert set(evaluated) == {None, "Biscoe", "Dream", "Torgersen"}
    candidate = compared["candidates"][backend]
    for part in (candidate, *candidate["slices"]):
        said = evaluated[islands[int(part["slice"]["island_xf"])] if "slice" in part else None]
        assert part["rows"] == said["example_count"]
        assert part["metrics"]["accuracy"]["trained"] == pytest.approx(said["sparse_categorical_accuracy"], abs=1e-6)
        loss = said["sparse_categorical_crossentropy"]
        assert part["metrics"]["log_loss"]["trained"] == pytest.approx(loss, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_blessed_model_is_pushed_and_predicts_from_raw_examples_with_missing_values(demo, results, backend):
    import tensorflow as tf

    root, screen = demo
    assert f"{backend}, by itself, to {results[backend].pushed.relative_to(root)}" in screen
    model = tf.saved_model.load(str(results[backend].pushed))
    signature = model.signatures["predict" if backend == "estimator" else "serving_default"]
    examples = records(root / "artifacts" / "CsvExampleGen" / "examples", "eval")
    without = tf.train.Example.FromString(examples[0])
    for name in ("sex", "body_mass_g", "species"):
        del without.features.feature[name]
    outputs = signature(examples=tf.constant([*examples, without.SerializeToString()]))
    probabilities = outputs["probabilities" if backend == "estimator" else "outputs"]
    if backend == "torch":
        probabilities = tf.nn.softmax(probabilities)
        assert set(outputs["classes"].numpy()[:, 0]) == {b"Adelie", b"Gentoo", b"Chinstrap"}
    assert probabilities.shape == (len(examples) + 1, 3)
    assert float(tf.reduce_max(tf.abs(tf.reduce_sum(probabilities, 1) - 1))) < 1e-5


def records(examples, split):
    """Serialized examples of a split of an artifact."""
    import tensorflow as tf

    return list(tf.data.TFRecordDataset(tf.io.gfile.glob(f"{examples}/*/Split-{split}/*"), "GZIP").as_numpy_iterator())


@pytest.fixture(scope="module")
def unlabelled(demo):
    """Examples that nobody has named, and what PyTorch says of them: of its own program, by Transform's own graph."""
    import tensorflow as tf
    import tensorflow_transform as tft
    import torch

    artifacts = demo[0] / "artifacts"
    examples = [
        each for split in ("train", "eval") for each in records(artifacts / "CsvExampleGen.unlabelled/examples", split)
    ]
    [graph] = artifacts.glob("Transform/transform_graph/*")
    [path] = artifacts.glob("Trainer.torch/model/*/Format-Torch/model.pt2")
    output = tft.TFTransformOutput(str(graph))
    spec = {name: feature for name, feature in output.raw_feature_spec().items() if name != "species"}
    features = output.transform_features_layer()(tf.io.parse_example(examples, spec))
    with torch.no_grad():
        said = torch.export.load(path).module()({name: torch.tensor(value.numpy()) for name, value in features.items()})
    assert len(examples) == 344
    return examples, said.numpy()


def test_bulk_inferrer_says_what_pytorch_says_of_unlabelled_penguins(demo, unlabelled):
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    [file] = demo[0].glob("artifacts/BulkInferrer.torch/inference_result/*/*.gz")
    logs = [
        prediction_log_pb2.PredictionLog.FromString(log).predict_log
        for log in tf.data.TFRecordDataset([str(file)], "GZIP").as_numpy_iterator()
    ]

    def key(example):  # which a reader may have serialized anew, in another order
        return tf.train.Example.FromString(example).SerializeToString(deterministic=True)

    said = {key(log.request.inputs["examples"].string_val[0]): log.response.outputs["outputs"] for log in logs}
    examples, wanted = unlabelled
    got = np.concatenate([tf.make_ndarray(said[key(example)]) for example in examples])
    assert len(logs) == len(examples)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


PUSHED_ALONE = """
import sys
for name in ("torch", "polytrainer"):
    sys.modules[name] = None  # importing it raises
import numpy as np, tensorflow as tf
model, data, result = sys.argv[1:]
examples = list(tf.data.TFRecordDataset(tf.io.gfile.glob(data), "GZIP").as_numpy_iterator())
loaded = tf.saved_model.load(model)
np.savez(result, *(loaded.signatures["serving_default"](examples=tf.constant(batch))["outputs"].numpy()
                   for batch in (examples, examples[:1])))
"""


def test_what_is_pushed_needs_neither_torch_nor_polytrainer(demo, results, unlabelled, tmp_path):
    import numpy as np

    data = demo[0] / "artifacts/CsvExampleGen.unlabelled/examples/*/Split-*/*"
    arguments = [str(results["torch"].pushed), str(data), str(tmp_path / "said.npz")]
    done = subprocess.run([sys.executable, "-c", PUSHED_ALONE, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "said.npz") as said:
        all_of_them, first = said["arr_0"], said["arr_1"]
    wanted = sorted(unlabelled[1].tolist())
    np.testing.assert_allclose(sorted(all_of_them.tolist()), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(first, all_of_them[:1], rtol=1e-5, atol=1e-5)


def test_the_artifact_says_how_far_the_served_model_is_from_the_trained_one(store):
    models = {model.uri: model.custom_properties for model in store.get_artifacts_by_type("Model")}
    [told] = [properties for uri, properties in models.items() if "/Trainer.torch/" in uri]
    assert 0 <= float(told["parity.torch"].string_value) <= 1e-5
    assert 0 <= float(told["parity.saved_model"].string_value) <= 1e-5
    assert told["signatures"].string_value == "predict,serving_default,transform_features"


def test_from_the_blessing_metadata_leads_back_through_every_node_to_the_data(demo, store, compared):
    """An edge is (node that made it, output, input, node that took it)."""
    edges, sources = lineage(store, "ModelComparator", "blessing")
    trainers = [f"Trainer.{backend}" for backend in BACKENDS]
    assert edges == {
        *((f"Trainer.{each}", "test_results", f"test_results_{each}", "ModelComparator") for each in BACKENDS),
        *((f"Trainer.{each}", "model", f"model_{each}", "ModelComparator") for each in BACKENDS),
        *(("Transform", "transformed_examples", "examples", trainer) for trainer in trainers),
        *(("Transform", "transform_graph", "transform_graph", trainer) for trainer in trainers),
        *(("CsvExampleGen", "examples", "raw_examples", trainer) for trainer in trainers),
        *(("SchemaGen", "schema", "schema", trainer) for trainer in trainers),
        *(("StatisticsGen", "statistics", "statistics", trainer) for trainer in trainers),
        ("SchemaGen", "schema", "schema", "Transform"),
        ("StatisticsGen", "statistics", "statistics", "SchemaGen"),
        ("CsvExampleGen", "examples", "examples", "Transform"),
        ("CsvExampleGen", "examples", "examples", "StatisticsGen"),
    }
    [data] = sources
    assert data.custom_properties["input_base"].string_value == str(demo[0] / "data")
    [blessing] = [each for each in store.get_artifacts_by_type("ModelBlessing") if "/ModelComparator/" in each.uri]
    assert blessing.custom_properties["current_model_id"].int_value == compared["models"][compared["best"]]["id"]


def lineage(store, node, output):
    """Edges behind the newest output of a node, by MLMD's events alone, and the executions that took nothing."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    def node_of(execution):
        contexts = {each.type: each.name for each in store.get_contexts_by_execution(execution)}
        return contexts["node"].removeprefix(f"{contexts['pipeline']}.")

    def key_of(event):
        return event.path.steps[0].key

    context = store.get_context_by_type_and_name("node", f"penguins.{node}")
    waiting = [max(each.id for each in store.get_executions_by_context(context.id))]
    made = store.get_events_by_execution_ids(waiting)
    assert output in {key_of(event) for event in made if event.type == mlmd.Event.OUTPUT}
    edges, sources, seen = set(), [], set()
    while waiting:
        execution = waiting.pop()
        seen.add(execution)
        taken = [each for each in store.get_events_by_execution_ids([execution]) if each.type == mlmd.Event.INPUT]
        if not taken:
            sources += store.get_executions_by_id([execution])
        for event in taken:
            [maker] = [
                each for each in store.get_events_by_artifact_ids([event.artifact_id]) if each.type == mlmd.Event.OUTPUT
            ]
            edges.add((node_of(maker.execution_id), key_of(maker), key_of(event), node_of(execution)))
            if maker.execution_id not in seen:
                waiting.append(maker.execution_id)
    return edges, {each.id: each for each in sources}.values()


def test_the_command_line_lists_the_trainings_and_sets_them_side_by_side(demo, capsys):
    from polytrainer.pipelines.cli import main

    metadata = ["--metadata", str(demo[0] / "metadata.sqlite"), "--json"]
    assert main(["runs", *metadata]) == 0
    listed = {run["node"]: run for run in json.loads(capsys.readouterr().out)}
    assert set(listed) == {f"Trainer.{backend}" for backend in BACKENDS}
    for run in listed.values():
        assert list(Path(run["test_results_uri"]).glob("Split-eval/*.gz"))
    assert main(["compare", *(str(run["id"]) for run in listed.values()), *metadata]) == 0
    assert len(json.loads(capsys.readouterr().out)["metrics"]["accuracy"]["values"]) == len(BACKENDS)


@pytest.fixture(scope="module")
def again(demo, tmp_path_factory):
    """(root folder, store, comparison.json) of a second run of the same pipeline: PyTorch alone, for one epoch.

    It has the first run's metadata, and its data as they were prepared; it writes elsewhere.
    """
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import RunOptions

    from polytrainer.pipelines.metadata_connection import connect
    from polytrainer.pipelines.penguins.pipeline import create_pipeline

    root = tmp_path_factory.mktemp("again")
    shutil.copy(demo[0] / "metadata.sqlite", root)
    pipeline = create_pipeline(demo[0] / "data", root, ("torch",), num_epochs=1)
    some = RunOptions(from_nodes=["Trainer.torch", "latest_blessed"], to_nodes=["Pusher"])
    LocalDagRunner().run(pipeline, run_options=some)
    [path] = root.glob("artifacts/ModelComparator/comparison/*/comparison.json")
    return root, connect(root / "metadata.sqlite"), json.loads(path.read_text())


def test_the_next_run_has_to_beat_the_winner_of_the_first_on_the_same_rows(demo, compared, again):
    root, _, told = again
    best = compared["best"]
    assert told["models"]["baseline"] == compared["models"][best]  # and not just any that an Evaluator has blessed
    assert told["rows"] == compared["rows"]
    [candidate] = told["candidates"].values()
    loss = compared["candidates"][best]["metrics"]["log_loss"]["trained"]
    assert candidate["metrics"]["log_loss"]["existing"] == pytest.approx(loss, rel=1e-6)
    assert candidate["against"]["baseline"]["log_loss"]["verdict"] == "worse"
    assert (told["blessed"], candidate["blessable"]) == (False, False)
    assert "By log_loss it is worse than the baseline" in told["reasons"][-1]
    assert not (root / "pushed").exists()


def test_a_model_that_its_evaluator_refuses_is_compared_but_never_pushed(again):
    from polytrainer.pipelines import comparison, outcomes

    _, store, told = again
    [result] = outcomes.outcomes(store, ("torch",), "penguins")
    assert (result.blessed, result.pushed) == (False, None)  # and not what the first run said
    found = comparison.newest(store, "penguins", "ModelComparator", "Pusher")
    screen = comparison.text(found, [result], 200)
    cells = rows(screen)
    assert dict(zip(cells["model"], cells["torch"], strict=True))["Evaluator"] == "not blessed"
    assert cells["torch"][-2:] == ["the best", "worse"]
    assert f"asked for is at least 0.9. {told['reasons'][-1]}" in screen
    assert screen.endswith("nothing is pushed: the baseline stays")


def test_progress_is_on_the_screen_and_the_noise_in_a_file(demo):
    root, screen = demo
    assert "[21/21] " in screen
    assert "running bdist_wheel" not in screen
    assert "running bdist_wheel" in (root / "run.log").read_text()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_eval_model_is_there_too(demo, backend):
    import tensorflow as tf

    [model] = Path(demo[0]).glob(f"artifacts/Trainer.{backend}/model/*")
    assert tf.saved_model.contains_saved_model(str(model / "Format-TFMA"))
    assert not list(Path(demo[0]).glob(f"artifacts/Trainer.{backend}/.checkpoints/*"))


@pytest.mark.parametrize("backend", ["keras", "estimator"])
def test_an_unmodified_bulk_inferrer_reads_the_model(demo, backend):
    import tensorflow as tf

    [file] = demo[0].glob(f"artifacts/BulkInferrer.{backend}/inference_result/*/*.gz")
    assert len(list(tf.data.TFRecordDataset([str(file)], "GZIP").as_numpy_iterator())) == 344


def test_the_run_is_written_down_beside_the_logs(demo):
    for backend in ("keras", "estimator", "torch"):
        [run] = Path(demo[0]).glob(f"artifacts/Trainer.{backend}/model_run/*")
        assert (run / "trainer_state.json").exists()
        assert (run / "logs" / "metrics.csv").exists()
        assert list((run / "logs").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backends", "keras,jax"], "got 'jax'; known backends: keras, estimator, torch"),
        (["digits", "--backends", "keras"], "got 'keras'; known backends: torch"),
        (["--epochs", "0"], "got '0'; expected a number from 1"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_imported(arguments, said):
    command = [sys.executable, "-m", "polytrainer.pipelines.local", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert said in done.stderr


def test_torch_learns_the_same_from_raw_examples_and_the_transform_graph(demo, tmp_path):
    from torch import nn

    from polytrainer import Features, TorchTrainer
    from polytrainer.pipelines.penguins.features import TRANSFORMED_LABEL

    class Penguins(TorchTrainer):
        def model_fn(self):
            features = Features.from_schema(self.schema, exclude=[self.label_key])
            return nn.Sequential(features, nn.Linear(features.out_features, 3))

    artifacts = Path(demo[0]) / "artifacts"
    [graph] = artifacts.glob("Transform/transform_graph/*")
    losses = []
    for node in ("Transform/transformed_examples", "CsvExampleGen/examples"):
        [examples] = artifacts.glob(f"{node}/*")
        files = {split: f"{examples}/Split-{split}/*" for split in ("train", "eval")}
        result = Penguins(TRANSFORMED_LABEL).fit(
            files["train"], files["eval"], transform_graph=str(graph), num_epochs=1, seed=1
        )
        losses.append(result.metrics["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
