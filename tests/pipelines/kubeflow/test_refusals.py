"""What is refused before anything is compiled, each with what to do about it."""

from __future__ import annotations

import sys

import pytest
from kubeflow_pipelines import IMAGE, nodes, pipeline, small

from polytrainer import TrainerResources, TrainJob
from polytrainer.pipelines import kubeflow
from polytrainer.pipelines.errors import KubeflowError

pytestmark = pytest.mark.line


@pytest.fixture
def refused(tmp_path):
    """Compiles, and returns what is said against it; nothing may be written then."""

    def call(made, output="small.yaml", **options):
        with pytest.raises(KubeflowError) as error:
            kubeflow.compile(made, tmp_path / output, **{"image": IMAGE, **options})
        assert list(tmp_path.rglob("small.*")) == []
        return [str(problem) for problem in error.value.problems]

    return call


def vertex(made, refused, **options):
    return refused(made, "small.json", target="vertex", root="gs://bucket/root", **options)


def test_everything_is_in_one_error(tmp_path):
    made = small({"resources": TrainerResources(gpu=1, gpu_type="T4")}, name="Small", root=str(tmp_path))
    with pytest.raises(
        KubeflowError,
        match=r"(?s)^5 problems:.*1\. output.*2\. image.*3\. pipeline_name.*4\. pipeline_root.*5\. resources",
    ):
        kubeflow.compile(made, tmp_path / "small.json", image="")


def test_an_environment_without_kfp(refused, monkeypatch):
    made = small()
    monkeypatch.setitem(sys.modules, "kfp", None)
    [problem] = refused(made)
    assert problem.endswith('pip install "polytrainer[kfp]"')


def test_an_unknown_target(refused):
    assert refused(small(), target="airflow") == ["target: got 'airflow'; expected one of kfp, vertex."]


@pytest.mark.parametrize(
    ("target", "output", "said"),
    [
        ("kfp", "small.json", "expected a name that ends in .yaml or .yml. Kubeflow Pipelines reads no other."),
        ("vertex", "small.yaml", "expected a name that ends in .json. Vertex AI reads no other."),
        ("kfp", "small", "expected a name that ends in .yaml or .yml. Kubeflow Pipelines reads no other."),
    ],
)
def test_a_file_with_another_ending(refused, tmp_path, target, output, said):
    root = "gs://bucket/root"
    assert refused(small(root=root), output, target=target) == [f"output: got {str(tmp_path / output)!r}; {said}"]


@pytest.mark.parametrize("image", ["", " ", None, "an image:1"])
def test_no_image(refused, image):
    [problem] = refused(small(), image=image)
    assert problem.startswith(f"image: got {image!r}; expected a container image, e.g.")


def test_images_of_nodes(refused):
    assert refused(small(), images={"Trainer": "gpu:1", "Transform": ""}) == [
        "images: got a node 'Trainer'; expected some of CsvExampleGen, SchemaGen, StatisticsGen, Trainer.torch, "
        "Transform.",
        "images['Transform']: got ''; expected a container image, e.g. \"registry.example.com/team/trainer:1.4\".",
    ]


def test_roots(refused, tmp_path):
    from tfx.dsl.placeholder import placeholder

    elsewhere = "Kubeflow Pipelines keeps artifacts nowhere else."
    expected = "expected a text that begins with gs:// or minio:// or s3://."
    assert refused(small(root=str(tmp_path))) == [
        f"pipeline_root: got {str(tmp_path)!r}, a path of this machine; {expected} {elsewhere}"
    ]
    assert refused(small(root="hdfs://a/b")) == [f"pipeline_root: got 'hdfs://a/b'; {expected} {elsewhere}"]
    unknown = placeholder.runtime_info("platform_config").base_dir
    assert refused(small(root=unknown)) == [f"pipeline_root: got a placeholder; {expected}"]
    assert refused(small(root=""), "small.json", target="vertex") == [
        "pipeline_root: got none; expected a text that begins with gs://."
    ]


@pytest.mark.parametrize("root", ["minio://mlpipeline/v2", "s3://bucket/root", ""])
def test_a_module_file_that_cannot_be_packaged(refused, module_file, root):
    file = module_file("def run_fn(fn_args):\n    pass\n")
    [problem] = refused(small({"run_fn": None, "module_file": file}, root=root))
    assert problem.startswith(f"Trainer.torch.module_file: got {file!r}, which TFX packages under ")
    assert 'Install the module in the image and give run_fn="package.module.run_fn" in place of it.' in problem


def test_a_module_file_of_transform(refused, module_file):
    from tfx import v1 as tfx

    file = module_file("def preprocessing_fn(inputs):\n    return inputs\n")
    [example_gen, statistics_gen, schema_gen, *_] = nodes()
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"], schema=schema_gen.outputs["schema"], module_file=file
    )
    [problem] = refused(pipeline([example_gen, statistics_gen, schema_gen, transform]))
    assert "Transform.module_file" in problem
    assert 'give preprocessing_fn="package.module.preprocessing_fn" in place of it' in problem


def test_a_module_that_was_packaged_on_this_machine(refused, module_file, tmp_path):
    made = small({"run_fn": None, "module_file": module_file("def run_fn(fn_args):\n    pass\n")})
    trainer = made.components[-1]
    trainer._pip_dependencies = [str(tmp_path / "_wheels" / "tfx_user_code_Trainer-0.0-py3-none-any.whl")]
    [problem] = refused(made)
    assert "which was packaged for a run on this machine; expected a pipeline that has not run yet" in problem


def test_resolvers(refused):
    from tfx import v1 as tfx
    from tfx.types import Channel

    resolver = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("latest")
    [problem] = refused(pipeline([*nodes(), resolver]))
    assert problem.startswith("latest: got a Resolver; expected a node that Kubeflow Pipelines runs")
    assert "tfx.dsl.Importer" in problem


def test_what_tfx_compiler_has_not(refused):
    from tfx import v1 as tfx

    [*before, trainer] = nodes()
    validator = tfx.components.InfraValidator(
        model=trainer.outputs["model"], serving_spec=tfx.proto.ServingSpec(), request_spec=tfx.proto.RequestSpec()
    )
    assert refused(pipeline([*before, trainer, validator])) == [
        "InfraValidator: got an InfraValidator; expected another node. TFX's compiler for Kubeflow knows none."
    ]


def test_executors_of_a_script(refused, monkeypatch):
    from polytrainer.executors.generic_executor import GenericExecutor

    class Mine(GenericExecutor):
        __module__ = "__main__"

    made = small()
    made.components[-1].executor_spec.executor_class = Mine
    [problem] = refused(made)
    assert "of the script that is running; expected one that can be imported in the image" in problem


def test_values_that_an_importer_names(refused):
    from tfx import v1 as tfx
    from tfx.types import standard_artifacts

    [*before, trainer] = nodes()
    written = tfx.dsl.Importer(source_uri="gs://bucket/steps", artifact_type=standard_artifacts.String).with_id("steps")
    trainer.spec.exec_properties["train_args"] = written.outputs["result"].future()[0].value
    [problem] = refused(pipeline([*before, written, trainer]))
    assert problem.startswith(
        "Trainer.torch.train_args: got a value that the Importer steps names; expected one that a "
    )


def test_an_importer_under_a_condition(refused):
    from tfx import v1 as tfx
    from tfx.types import standard_artifacts

    made = nodes()
    with tfx.dsl.Cond(made[-1].outputs["model"].future()[0].custom_property("accuracy") == 1):
        importer = tfx.dsl.Importer(source_uri="gs://bucket/model", artifact_type=standard_artifacts.Model)
    assert refused(pipeline([*made, importer])) == [
        "Importer: got an Importer under a condition; expected one outside of it. The backend takes no other."
    ]


def test_names_that_argo_does_not_tell_apart(refused):
    [*before, trainer] = nodes()
    [*_, other] = nodes()
    made = pipeline([*before, trainer])
    made.components.append(other.with_id("Trainer_torch"))
    [problem] = refused(made)
    assert problem.startswith("node ids: got 'Trainer.torch' and 'Trainer_torch', which are both 'Trainer-torch' there")


def test_resources_of_unknown_nodes_and_of_such_as_have_no_container(refused):
    from tfx import v1 as tfx
    from tfx.types import standard_artifacts

    importer = tfx.dsl.Importer(source_uri="gs://bucket/model", artifact_type=standard_artifacts.Model)
    asked = dict.fromkeys(["Trainer", "Evaluator", "Importer"], TrainerResources(cpu=1))
    [first, second, third] = refused(pipeline([*nodes(), importer]), resources=asked)
    assert first.startswith("resources: got a node 'Trainer'; expected some of CsvExampleGen, Importer, SchemaGen")
    assert second.startswith("resources: got a node 'Evaluator'; expected some of ")
    assert (
        third
        == "resources['Importer']: got resources of a node of type Importer; expected a node that runs a container."
    )


def test_resources_of_another_kind(refused):
    assert refused(small(), resources={"Transform": {"cpu": 1}}) == [
        "resources['Transform']: got {'cpu': 1}; expected a polytrainer.TrainerResources."
    ]
    with pytest.raises(TypeError, match=r"resources: got \{'cpu': 1\}; expected a polytrainer\.TrainerResources"):
        small({"resources": {"cpu": 1}})


def test_resources_beside_those_of_tfx(refused):
    from kfp.pipeline_spec import pipeline_spec_pb2

    made = nodes()
    spec = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec(cpu_limit=1.0)
    made[-1].with_platform_config(spec)
    assert refused(pipeline(made), resources={"Trainer.torch": TrainerResources(cpu=1)}) == [
        "resources['Trainer.torch']: got resources beside with_platform_config(); expected one of the two."
    ]


def test_accelerators_have_other_names_elsewhere(refused):
    [problem] = refused(small({"resources": TrainerResources(gpu=1, gpu_type="NVIDIA_TESLA_T4")}))
    assert problem == (
        "resources['Trainer.torch'].gpu_type: got 'NVIDIA_TESLA_T4'; expected what Kubeflow Pipelines calls a device, "
        "e.g. 'nvidia.com/gpu'. Which kind of it is a matter of node_selector."
    )
    [problem] = vertex(small({"resources": TrainerResources(gpu=1)}), refused)
    assert "got 'nvidia.com/gpu'; expected what Vertex AI calls a device, e.g. 'NVIDIA_TESLA_T4'" in problem


def test_what_vertex_has_not(refused):
    asked = {
        "node_selector": {"a": "b"},
        "tolerations": [{"operator": "Exists"}],
        "secrets": {"wandb": {"key": "KEY"}},
        "volumes": {"data": "/data"},
        "shared_memory": "1G",
        "image_pull_policy": "Always",
        "image_pull_secrets": ["registry"],
        "cpu_request": 1,
        "memory_request": "1G",
    }
    problems = vertex(small({"resources": TrainerResources(**asked)}), refused)
    assert [problem.partition(":")[0] for problem in problems] == [
        f"resources['Trainer.torch'].{name}" for name in asked
    ]
    assert all("expected nothing. Vertex AI has no such thing" in problem for problem in problems)


@pytest.mark.parametrize("root", ["minio://mlpipeline/v2", ""])
def test_a_training_job_whose_pods_cannot_open_the_artifacts(refused, root):
    [problem] = refused(small({"cluster": TrainJob(image=IMAGE)}, root=root))
    assert problem.startswith("Trainer.torch.cluster: got a training job, and artifacts at ")
    assert problem.endswith(
        "expected a root that the pods of the job can open, e.g. gs://. TFX does not read minio:// in them."
    )


def test_a_training_job_with_artifacts_in_a_bucket(tmp_path):
    made = small({"cluster": TrainJob(image=IMAGE)}, root="s3://bucket/root")
    assert kubeflow.compile(made, tmp_path / "small.yaml", image=IMAGE).exists()


def test_a_spec_that_kfp_does_not_take(refused):
    large = small({"custom_config": {"text": "x" * 300_000}})
    [problem] = refused(large)
    assert (
        "expected at most 262144. Shorten what arguments of nodes hold (eval_config, custom_config, queries)" in problem
    )
    assert "give max_bytes to try it" in problem


def test_a_large_spec_where_it_is_asked_for(tmp_path):
    large = small({"custom_config": {"text": "x" * 300_000}})
    assert kubeflow.compile(large, tmp_path / "small.yaml", image=IMAGE, max_bytes=0).stat().st_size > 300_000


def test_the_size_is_of_no_account_elsewhere(tmp_path):
    large = small({"custom_config": {"text": "x" * 300_000}}, root="gs://bucket/root")
    assert kubeflow.compile(large, tmp_path / "small.json", image=IMAGE, target="vertex").stat().st_size > 300_000


def test_what_tfx_compiler_says_itself_is_passed_on(refused):
    from tfx.dsl.components.base import executor_spec

    made = small()
    made.components[-1].executor_spec = executor_spec.ExecutorSpec()
    [problem] = refused(made)
    assert problem.startswith("small: got NotImplementedError of TFX's compiler: ")
