"""Compiled pipelines: what is written for Kubeflow Pipelines and for Vertex AI."""

from __future__ import annotations

import copy
import json

import pytest
from kubeflow_pipelines import IMAGE, ROOT, nodes, pipeline, small

from polytrainer import TrainerResources
from polytrainer.pipelines import kubeflow
from polytrainer.pipelines.kubeflow import refusals
from polytrainer.pipelines.kubeflow.targets import ENTRYPOINT

pytestmark = pytest.mark.line

GPU = TrainerResources(
    gpu=2, cpu="3500m", memory="16Gi", cpu_request=1, env={"A": "1"}, secrets={"wandb": {"api-key": "WANDB_API_KEY"}}
)
TRAINER = "Trainer-torch_executor"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The file of a pipeline whose Trainer and Transform ask for resources."""
    from tfx import v1 as tfx

    steps = tfx.dsl.experimental.RuntimeParameter("train-args", str, default='{"num_steps": 7}')
    rate = tfx.dsl.experimental.RuntimeParameter("schema-of", str)
    made = small({"train_args": steps, "eval_args": rate, "resources": GPU})
    output = tmp_path_factory.mktemp("compiled") / "folder" / "small.yaml"
    asked = {"Transform": TrainerResources(memory="8G"), "CsvExampleGen": TrainerResources(cpu=1)}
    assert kubeflow.compile(made, output, image=IMAGE, resources=asked, images={"Trainer.torch": "gpu:1"}) == output
    return output


@pytest.fixture(scope="module")
def documents(compiled):
    import yaml

    return list(yaml.safe_load_all(compiled.read_text()))


@pytest.fixture(scope="module")
def executors(documents):
    return documents[0]["deploymentSpec"]["executors"]


def test_tfx_own_proto_reads_every_field_of_it(documents):
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    assert (spec.schema_version, spec.pipeline_info.name, spec.default_pipeline_root) == ("2.1.0", "small", ROOT)
    assert sorted(spec.root.dag.tasks) == sorted(spec.components)
    deployment = copy.deepcopy(documents[0]["deploymentSpec"])
    known = {field.camelcase_name for field in _resource_fields(pipeline_spec_pb2)}
    for executor in deployment["executors"].values():
        asked = executor["container"].get("resources", {})
        executor["container"]["resources"] = {name: asked[name] for name in asked if name in known}
    read = json_format.ParseDict(deployment, pipeline_spec_pb2.PipelineDeploymentConfig())
    assert read.executors[TRAINER].container.resources.cpu_limit == 3.5
    assert read.executors[TRAINER].container.resources.memory_limit == 17.179869184
    assert read.executors[TRAINER].container.resources.accelerator.type == "nvidia.com/gpu"
    assert read.executors[TRAINER].container.resources.accelerator.count == 2


def _resource_fields(proto):
    fields = proto.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec.DESCRIPTOR.fields
    assert {"cpu_limit", "memory_limit", "accelerator"} <= {field.name for field in fields}
    return fields


def test_every_container_runs_our_entrypoint_in_the_image(executors):
    for label, executor in executors.items():
        assert executor["container"]["command"] == list(ENTRYPOINT)
        assert executor["container"]["image"] == ("gpu:1" if label == TRAINER else IMAGE)
        assert executor["container"]["args"][:1] == ["--executor_class_path"]
        assert "--json_serialized_inputs_spec_args" in executor["container"]["args"]


def test_nodes_have_what_they_ask_for_and_no_others(executors):
    asked = {label: executor["container"].get("resources") for label, executor in executors.items()}
    assert asked == {
        "CsvExampleGen_executor": {"cpuLimit": 1.0},  # TFX alone drops resources of file-based ExampleGens
        "StatisticsGen_executor": None,
        "SchemaGen_executor": None,
        "Transform_executor": {"memoryLimit": 8.0},
        TRAINER: {
            "cpuLimit": 3.5,
            "cpuRequest": 1.0,
            "memoryLimit": 17.179869184,
            "accelerator": {"type": "nvidia.com/gpu", "count": "2"},
        },
    }
    assert executors[TRAINER]["container"]["env"] == [{"name": "A", "value": "1"}]


def test_what_only_kubernetes_gives_is_a_second_document(documents):
    [_, platform] = documents
    [config] = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items()
    keys = [{"secretKey": "api-key", "envVar": "WANDB_API_KEY"}]
    assert config == (TRAINER, {"secretAsEnv": [{"secretName": "wandb", "keyToEnv": keys}]})


def test_tasks_are_named_as_argo_takes_it(documents):
    tasks = documents[0]["root"]["dag"]["tasks"]
    assert tasks["Trainer-torch"]["taskInfo"]["name"] == "Trainer-torch"
    assert tasks["Trainer-torch"]["dependentTasks"] == ["CsvExampleGen", "Transform"]  # raw examples, and the rest
    assert "Trainer.torch" not in json.dumps(documents)


def test_defaults_of_runtime_parameters_are_there(documents):
    assert documents[0]["root"]["inputDefinitions"]["parameters"] == {
        "train-args": {"parameterType": "STRING", "defaultValue": '{"num_steps": 7}'},
        "schema-of": {"parameterType": "STRING"},
    }


def test_examples_of_files_that_may_have_changed_are_not_cached(tmp_path):
    import yaml

    output = kubeflow.compile(small(enable_cache=True), tmp_path / "a.yaml", image=IMAGE)
    tasks = yaml.safe_load(output.read_text())["root"]["dag"]["tasks"]
    cached = {name for name, task in tasks.items() if task.get("cachingOptions") == {"enableCache": True}}
    assert cached == {"StatisticsGen", "SchemaGen", "Transform", "Trainer-torch"}


def test_values_that_other_nodes_write_name_their_task(tmp_path):
    """TFX appends "_task" to it, a name that no task has."""
    import yaml
    from kubeflow_components import Counter

    [*before, trainer] = nodes()
    counter = Counter(words="one two").with_id("Counter.of_words")
    trainer.spec.exec_properties["custom_config"] = counter.outputs["count"].future()[0].value
    output = kubeflow.compile(pipeline([*before, counter, trainer]), tmp_path / "a.yaml", image=IMAGE)
    spec = yaml.safe_load(output.read_text())
    task = spec["root"]["dag"]["tasks"]["Trainer-torch"]
    assert task["inputs"]["parameters"]["custom_config"] == {
        "taskOutputParameter": {"producerTask": "Counter-of-words", "outputParameterKey": "count"}
    }
    assert "Counter-of-words" in task["dependentTasks"]
    written = spec["components"]["Counter-of-words"]["outputDefinitions"]["parameters"]
    assert written == {"count": {"parameterType": "NUMBER_INTEGER"}}
    taken = spec["components"]["Trainer-torch"]["inputDefinitions"]
    assert taken["parameters"]["custom_config"] == {"parameterType": "NUMBER_INTEGER"}  # TFX says STRING
    args = spec["deploymentSpec"]["executors"][TRAINER]["container"]["args"]
    assert json.loads(args[args.index("--json_serialized_inputs_spec_args") + 1]) == taken


def test_kfp_loads_it(compiled):
    """With the kfp that this TFX line brings: 2.5 beside TFX 1.16, 2.16 beside 1.21."""
    import kfp

    if kfp.__version__.startswith("1."):
        pytest.skip("kfp 1 knows no schema 2.1.0")
    loaded = kfp.components.load_component_from_text(compiled.read_text())
    assert loaded.name == "small"
    assert set(loaded.component_spec.inputs) == {"train-args", "schema-of"}
    assert list(loaded.platform_spec.platforms["kubernetes"].deployment_spec.executors) == [TRAINER]


def test_kfp_kubernetes_reads_back_what_was_written(documents):
    """With KFP's own proto, where `kfp-kubernetes` is installed, which is on TFX 1.21."""
    proto = pytest.importorskip("kfp.kubernetes.kubernetes_executor_config_pb2")
    from google.protobuf import json_format

    for config in documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        read = json_format.ParseDict(config, proto.KubernetesExecutorConfig())
        assert json_format.MessageToDict(read) == config


def test_resources_given_to_compile_replace_those_of_the_trainer(tmp_path):
    import yaml

    output = kubeflow.compile(
        small({"resources": GPU}), tmp_path / "a.yml", image=IMAGE, resources={"Trainer.torch": TrainerResources(cpu=1)}
    )
    [spec] = yaml.safe_load_all(output.read_text())
    assert spec["deploymentSpec"]["executors"][TRAINER]["container"]["resources"] == {"cpuLimit": 1.0}
    assert "env" not in spec["deploymentSpec"]["executors"][TRAINER]["container"]


def test_one_pipeline_is_compiled_for_both(tmp_path):
    made = small()
    kubeflow.compile(made, tmp_path / "a.yaml", image=IMAGE)
    t4 = TrainerResources(gpu=1, gpu_type="NVIDIA_TESLA_T4", cpu=4, memory="16G", env={"A": "1"})
    output = kubeflow.compile(
        made,
        tmp_path / "a.json",
        image=IMAGE,
        target="vertex",
        root="gs://bucket/root",
        resources={"Trainer.torch": t4},
    )
    job = json.loads(output.read_text())
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/root"
    assert job["pipelineSpec"]["schemaVersion"] == "2.0.0"
    container = job["pipelineSpec"]["deploymentSpec"]["executors"]["Trainer.torch_executor"]["container"]
    assert container["command"] == ["python", "-m", "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"]
    assert container["resources"] == {
        "cpuLimit": 4.0,
        "memoryLimit": 16.0,
        "accelerator": {"type": "NVIDIA_TESLA_T4", "count": "1"},
    }
    assert container["env"] == [{"name": "A", "value": "1"}]


def test_vertex_takes_what_is_written_for_it(tmp_path):
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    made = small({"resources": TrainerResources(cpu=4, memory="8G")}, root="gs://bucket/root")
    output = kubeflow.compile(made, tmp_path / "a.json", image=IMAGE, target="vertex")
    job = json_format.Parse(output.read_text(), pipeline_spec_pb2.PipelineJob())
    spec = json_format.ParseDict(json_format.MessageToDict(job.pipeline_spec), pipeline_spec_pb2.PipelineSpec())
    assert "Trainer.torch" in spec.root.dag.tasks


def test_a_module_file_is_packaged_where_tfx_can_write(tmp_path, module_file, monkeypatch):
    """The root is a folder here: TFX writes to gs:// the same way, with credentials."""
    import yaml

    monkeypatch.setattr(refusals.packaging, "can_write", lambda root: True)
    monkeypatch.setattr(refusals, "of_root", lambda root, target: [])
    module = module_file("def run_fn(fn_args):\n    pass\n", "penguin")
    made = small({"run_fn": None, "module_file": module}, root=str(tmp_path / "root"))
    spec = yaml.safe_load(kubeflow.compile(made, tmp_path / "a.yaml", image=IMAGE).read_text())
    [wheel] = (tmp_path / "root" / "_wheels").glob("*.whl")
    parameters = spec["root"]["dag"]["tasks"]["Trainer-torch"]["inputs"]["parameters"]
    assert parameters["module_path"]["runtimeValue"]["constant"] == f"penguin@{wheel}"
    assert "module_file" not in parameters


def test_a_trainer_with_resources_runs_on_this_machine_too(tmp_path, node):
    from tfx import v1 as tfx

    from polytrainer import Trainer

    importer = tfx.dsl.Importer(
        source_uri=str(node.examples_uri),
        artifact_type=tfx.types.standard_artifacts.Examples,
        properties={"split_names": '["train", "eval", "test"]'},
    )
    trainer = Trainer(run_fn="kubeflow_pipelines.run_fn", examples=importer.outputs["result"], resources=GPU)
    config = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    made = pipeline([importer, trainer], root=str(tmp_path / "artifacts"), metadata_connection_config=config)
    tfx.orchestration.LocalDagRunner().run(made)
    assert len([*tmp_path.glob("artifacts/Trainer/model/*/Format-Serving/saved_model.pb")]) == 1


def test_resources_of_tfx_own_form_do_not(tmp_path):
    """Why ours are no `platform_config`: LocalDagRunner refuses the one that KubeflowV2DagRunner asks for."""
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx import v1 as tfx

    [*before, trainer] = nodes()
    container = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec
    trainer.with_platform_config(container.ResourceSpec(cpu_limit=1.0))
    with pytest.raises(ValueError, match=r"Platform config of Trainer\.torch is expected to be of one of the types"):
        tfx.orchestration.LocalDagRunner().run(pipeline([*before, trainer], root=str(tmp_path)))
