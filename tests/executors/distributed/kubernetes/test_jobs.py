"""Real trainings in jobs: what a node gives goes to the pods, and what comes of it comes home."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.proto import cluster
from polytrainer.proto.cluster import PyTorchJob, TFJob, TrainJob

IMAGE = {"env": {"PYTHONPATH": str(Path(__file__).parents[3] / "support")}}  # where `own_executor` is
SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""
TORCH = """
    import os, time
    import torch
    from torch import nn
    from polytrainer import Features, TorchTrainer

    class Mine(TorchTrainer):
        def model_fn(self):
            features = Features.from_schema(self.schema, exclude=["label"])
            return nn.Sequential(features, nn.Linear(features.out_features, 2))

        def train_step(self, model, batch):
            time.sleep(0.03)
            return super().train_step(model, batch)

        def save(self, model=None):  # what others test takes longer than this training
            os.makedirs(self.fn_args.serving_model_dir)
            torch.save(self.engine.model.state_dict(), self.fn_args.serving_model_dir + "/weights.pt")
            return {}

    run_fn = Mine("label", metrics=["accuracy"]).run_fn
"""


def run(node):
    """As a runner does; in a process of its own, `own_executor` is found as it would be in an image."""
    from own_executor import OwnExecutor

    OwnExecutor().Do(node.input_dict, node.output_dict, node.exec_properties)


def nested(node, tmp_path):
    """Output folders as a runner makes them: <node folder>/<key>/<execution>."""
    for key, [artifact] in node.output_dict.items():
        artifact.uri = str(tmp_path / "node" / key / "7")
        Path(artifact.uri).mkdir(parents=True, exist_ok=True)
    return node


def on(job, node, tmp_path):
    node.exec_properties["cluster"] = cluster.dumps(job)
    return nested(node, tmp_path)


@pytest.mark.e2e
def test_two_pods_train_one_model_through_local_dag_runner_and_go_on_after_an_eviction(
    kubernetes, node, module_file, tmp_path, capfd
):
    from ml_metadata.metadata_store import MetadataStore
    from tfx import v1 as tfx

    from polytrainer import Trainer, TrainerResources

    kinds = tfx.types.standard_artifacts
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    splits = {"split_names": '["train", "eval", "test"]'}
    examples = tfx.dsl.Importer(str(node.examples_uri), kinds.Examples, properties=splits).with_id("examples")
    schema = tfx.dsl.Importer(str(tmp_path / "schema"), kinds.Schema).with_id("schema")
    trainer = Trainer(
        module_file=module_file(TORCH, "torch_module"),
        examples=examples.outputs["result"],
        schema=schema.outputs["result"],
        train_args={"num_epochs": 40, "batch_size": 4, "seed": 1, "checkpoint_every_n_steps": 10},
        cluster=TrainJob(
            image="trainer:1", nodes=2, volumes={"runs": str(tmp_path)}, restarts=1, poll_seconds=0.2,
            resources=TrainerResources(env={"OMP_NUM_THREADS": "1"}),
        ),
    )  # fmt: skip
    config = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    pipeline = tfx.dsl.Pipeline(
        "jobs", str(tmp_path / "runs"), components=[examples, schema, trainer], metadata_connection_config=config
    )
    kubernetes.faults = [500, 500, 500]

    def evict():
        kubernetes.wait_for(lambda: list(tmp_path.glob("runs/Trainer/.checkpoints/*/step-*")), 120)
        kubernetes.pods[1].evict()

    eviction = threading.Thread(target=evict)
    eviction.start()
    tfx.orchestration.LocalDagRunner().run(pipeline)
    eviction.join()

    assert [path.rpartition("/")[2] for method, path in kubernetes.requests if method == "POST"] == ["trainjobs"] * 2
    said = capfd.readouterr().out
    assert "cpu, 2 ranks (Ddp)" in said
    assert "resumed        from step" in said
    [model] = MetadataStore(config).get_artifacts_by_type("Model")
    told = model.custom_properties
    assert told["framework"].string_value == "pytorch"
    assert told["train_steps"].int_value == 80
    assert "metric.accuracy" in told
    assert Path(model.uri, "Format-Serving", "weights.pt").exists()
    kubernetes.wait_for(lambda: not kubernetes.jobs)
    assert not list(tmp_path.glob("runs/Trainer/.checkpoints/*"))


def test_a_rank_that_raises_gives_its_traceback_and_tells_kubernetes(kubernetes, node, module_file, tmp_path):
    source = """
        import os, time

        def run_fn(fn_args):
            if os.environ["RANK"] == "1":
                raise ArithmeticError("this rank does not count any further")
            time.sleep(60)
    """
    node.exec_properties["module_file"] = module_file(source, "raising")
    volumes = {"runs": str(tmp_path)}
    job = PyTorchJob(image="trainer:1", procs_per_node=2, volumes=volumes, poll_seconds=0.2, resources=IMAGE)
    on(job, node, tmp_path)
    with pytest.raises(TrainingError, match=r"(?s)rank 1 of the PyTorchJob .*got ArithmeticError: this .*in run_fn"):
        run(node)
    [pod] = kubernetes.pods
    told = pod.as_json()["status"]["containerStatuses"][0]["state"]["terminated"]
    assert told["message"] == "ArithmeticError: this rank does not count any further"
    assert pod.env["WORLD_SIZE"] == "2"


LIKE_A_WORKER = """
import json, os, sys
folder = sys.argv[1]
outputs = json.loads(json.load(open(folder + "/arguments.json"))["outputs"])
[model] = outputs["model"]
os.makedirs(model["artifact"]["uri"] + "/Format-Serving/variables")
open(model["artifact"]["uri"] + "/Format-Serving/variables/data", "w").write("weights")
model["artifact"]["custom_properties"] = {"metric.accuracy": {"double_value": 0.5}}
json.dump({"outputs": json.dumps(outputs)}, open(folder + "/result.json", "w"))
"""


@pytest.mark.line
def test_a_node_that_is_run_again_brings_home_what_the_job_of_its_predecessor_wrote(
    kubernetes, node, saves_a_model, tmp_path
):
    worker = tmp_path / "worker.py"
    worker.write_text(LIKE_A_WORKER)
    go = tmp_path / "go"
    kubernetes.script = f'while [ ! -e {go} ]; do sleep 0.05; done; [ "$PET_NODE_RANK" != 0 ] || python3 {worker} "$0"'
    node.exec_properties["module_file"] = saves_a_model
    options = {"image": "trainer:1", "nodes": 2, "volumes": {"runs": str(tmp_path)}, "poll_seconds": 0.05}

    def cut_off():
        kubernetes.wait_for(lambda: kubernetes.pods)
        kubernetes.faults = [503] * 1000

    threading.Thread(target=cut_off).start()
    on(TrainJob(**options, patience_seconds=0.5), node, tmp_path)
    with pytest.raises(TrainingError, match="no answer of its API"):
        run(node)

    kubernetes.faults = []
    go.touch()
    kubernetes.wait_for(lambda: all(pod.phase == "Succeeded" for pod in kubernetes.pods))
    for key, artifact in (("model", node.model), ("model_run", node.model_run)):
        artifact.uri = str(tmp_path / "node" / key / "8")
    node.exec_properties["cluster"] = cluster.dumps(TrainJob(**options))
    run(node)
    assert Path(node.model.uri, "Format-Serving", "variables", "data").read_text() == "weights"
    assert node.model.get_float_custom_property("metric.accuracy") == 0.5
    assert kubernetes.count("POST") == 1
    kubernetes.wait_for(lambda: not kubernetes.jobs)


@pytest.mark.line
def test_a_step_of_kubeflow_pipelines_has_its_pods_write_into_the_bucket_itself(
    kubernetes, node, saves_a_model, tmp_path, monkeypatch
):
    worker = tmp_path / "worker.py"
    worker.write_text(LIKE_A_WORKER)
    kubernetes.script = f'python3 {worker} "$0"'
    from polytrainer.executors.distributed.kubernetes import reach

    monkeypatch.setattr(reach, "_MIRRORS", {f"{tmp_path}/node/": f"{tmp_path}/bucket/"})
    monkeypatch.setattr(reach, "_is_mounted", lambda uri, mounts: not uri.startswith(f"{tmp_path}/node/"))
    node.exec_properties["module_file"] = saves_a_model
    on(TrainJob(image="trainer:1", poll_seconds=0.05), node, tmp_path)
    run(node)
    assert node.model.uri == str(tmp_path / "node" / "model" / "7")  # as the step knows it
    assert node.model.get_float_custom_property("metric.accuracy") == 0.5
    assert list(tmp_path.rglob("variables/data")) == [tmp_path / "bucket/model/7/Format-Serving/variables/data"]


def test_a_job_that_has_ended_well_and_left_nothing_is_an_error(kubernetes, node, saves_a_model, tmp_path):
    kubernetes.script = "exit 0"
    node.exec_properties["module_file"] = saves_a_model
    on(TrainJob(image="trainer:1", volumes={"runs": str(tmp_path)}, poll_seconds=0.05), node, tmp_path)
    with pytest.raises(TrainingError, match=r"no result of rank 0 in .*/node/.jobs/.*Do its pods see that folder"):
        run(node)


@pytest.mark.line
def test_what_pods_could_not_do_is_refused_before_there_is_a_job(kubernetes, node, saves_a_model, tmp_path):
    node.exec_properties["module_file"] = saves_a_model
    node.exec_properties["train_args"] = json.dumps({"strategy": "multi_worker_mirrored"})
    on(TrainJob(image="trainer:1"), node, tmp_path)

    from polytrainer.executors.generic_executor import GenericExecutor

    class Local(GenericExecutor):
        pass

    with pytest.raises(PreflightError) as refused:
        Local().Do(node.input_dict, node.output_dict, node.exec_properties)
    said = str(refused.value)
    for part in (
        f"examples: got {node.examples_uri}, a path of this machine; expected what the pods",
        f"module_file: got {saves_a_model}, a path of this machine",
        "model: got ",
        "train_args.strategy: got 'multi_worker_mirrored' in a TrainJob; expected a TFJob",
        "the executor: got ",
    ):
        assert part in said
    assert kubernetes.requests == []


def test_a_pipeline_root_that_tfx_cannot_write_to_is_refused(kubernetes, node, saves_a_model, tmp_path):
    node.exec_properties["module_file"] = saves_a_model
    on(TrainJob(image="trainer:1", volumes={"runs": str(tmp_path)}), node, tmp_path)
    node.model.uri, node.model_run.uri = "s3://bucket/node/model/7", "s3://bucket/node/model_run/7"
    with pytest.raises(PreflightError, match=r"root: got s3://bucket/node/.jobs/.*scheme 's3' not implemented"):
        run(node)
    assert kubernetes.count("POST") == 0


def test_ddp_in_a_tf_job_is_refused(kubernetes, node, saves_a_model, tmp_path):
    node.exec_properties.update(module_file=saves_a_model, train_args=json.dumps({"strategy": "ddp"}))
    on(TFJob(image="trainer:1", volumes={"runs": str(tmp_path)}), node, tmp_path)
    with pytest.raises(PreflightError, match=r"train_args.strategy: got 'ddp' in a TFJob; .*polytrainer.TrainJob"):
        run(node)
