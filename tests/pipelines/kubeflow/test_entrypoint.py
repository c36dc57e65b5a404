"""What the container's entrypoint makes of what the launcher says, and of what TFX says to it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import emulation
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.pipelines.kubeflow.mirrors import ROOT_VARIABLE, Mirrors

pytestmark = pytest.mark.line
MIRRORS = Mirrors()
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
EXAMPLES = "title: tfx.Examples\ntype: object\n"


def said(**changes):
    """An ExecutorInput as open-source Kubeflow Pipelines writes it."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    untyped = {"name": "7", "uri": "minio://bucket/examples", "type": {"instanceSchema": ""}}
    logs = {"name": "executor-logs", "uri": "minio://bucket/executor-logs", "type": {"schemaTitle": "system.Artifact"}}
    statistics = {
        "name": "statistics",
        "uri": "minio://bucket/statistics",
        "type": {"instanceSchema": "title: tfx.ExampleStatistics\n"},
    }
    whole = {
        "inputs": {"artifacts": {"examples": {"artifacts": [{**untyped, **changes}]}}},
        "outputs": {
            "artifacts": {"statistics": {"artifacts": [statistics]}, "executor-logs": {"artifacts": [logs]}},
            "outputFile": "/minio/bucket/output_metadata.json",
        },
    }
    return json_format.ParseDict(whole, pipeline_spec_pb2.ExecutorInput())


def declared(**artifacts):
    """A ComponentInputsSpec."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    spec = {"artifacts": {name: {"artifactType": {"instanceSchema": schema}} for name, schema in artifacts.items()}}
    return json_format.ParseDict(spec, pipeline_spec_pb2.ComponentInputsSpec())


def first(artifacts, name):
    return artifacts[name].artifacts[0]


@pytest.mark.unit
@given(scheme=st.sampled_from(["minio", "s3", "gs"]), rest=TEXTS, root=st.sampled_from(["/", "/emulated", "/a/b/"]))
def test_the_mirror_of_a_uri_leads_back_to_it(scheme, rest, root):
    mirrors, uri = Mirrors(root), f"{scheme}://{rest}"
    folder = {"minio": "minio", "s3": "s3", "gs": "gcs"}[scheme]
    assert mirrors.path(uri) == f"{root.rstrip('/')}/{folder}/{rest}"
    assert mirrors.uri(mirrors.path(uri)) == uri


@pytest.mark.unit
@given(TEXTS.filter(lambda text: not text.startswith(("/minio/", "/s3/", "/gcs/"))))
def test_what_is_mirrored_nowhere_stays_as_it_is(text):
    for path in (text, f"/data/{text}", f"hdfs://{text}", f"/minio_of_ours/{text}"):
        assert MIRRORS.path(path) == MIRRORS.uri(path) == path


@pytest.mark.unit
def test_mirrors_are_below_another_folder_where_the_environment_says_so(monkeypatch):
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    assert Mirrors.from_environment().path("s3://bucket/key") == "/s3/bucket/key"
    monkeypatch.setenv(ROOT_VARIABLE, "/emulated")
    assert Mirrors.from_environment().path("gs://bucket/key") == "/emulated/gcs/bucket/key"


@pytest.mark.parametrize("kind", [{"instanceSchema": ""}, {"schemaTitle": ""}, {}, {"schemaTitle": "system.Dataset"}])
def test_an_input_without_a_type_of_tfx_has_the_declared_one(kind):
    from polytrainer.pipelines.kubeflow import executor_input

    mended = said(type=kind)
    executor_input.adapt(mended, declared(examples=EXAMPLES))
    assert first(mended.inputs.artifacts, "examples").type.instance_schema == EXAMPLES


def test_a_type_that_the_launcher_says_is_kept():
    from polytrainer.pipelines.kubeflow import executor_input

    mended = said(type={"instanceSchema": "title: tfx.Model"})
    executor_input.adapt(mended, declared(examples=EXAMPLES))
    assert first(mended.inputs.artifacts, "examples").type.instance_schema == "title: tfx.Model"


def test_an_input_that_nobody_declares_is_refused_with_the_remedy():
    from polytrainer.pipelines.kubeflow import executor_input

    with pytest.raises(KubeflowError, match=r"input 'examples': got an artifact without a type.+use_pipeline_spec_2_1"):
        executor_input.adapt(said(), declared(model=EXAMPLES))


def test_uris_become_paths_and_the_logs_of_the_launcher_go():
    from polytrainer.pipelines.kubeflow import executor_input

    mended = said()
    executor_input.adapt(mended, declared(examples=EXAMPLES))
    executor_input.mirror_uris(mended, MIRRORS)
    assert first(mended.inputs.artifacts, "examples").uri == "/minio/bucket/examples"
    assert first(mended.outputs.artifacts, "statistics").uri == "/minio/bucket/statistics"
    assert set(mended.outputs.artifacts) == {"statistics"}


def nested(inner):
    """Lists and mappings; among the keys are those that the launcher wraps with."""
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["list", "struct", "a"]), inner, max_size=2)


PLAIN = st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False)
JSON = PLAIN | nested(PLAIN) | nested(nested(PLAIN))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "list"]), JSON))
def test_metadata_comes_out_of_ml_metadata_as_it_went_in(metadata):
    from google.protobuf import json_format

    from polytrainer.pipelines.kubeflow import executor_input
    from polytrainer.pipelines.kubeflow.local.contract import OSS
    from polytrainer.pipelines.kubeflow.local.records import Published, Records

    records, told = Records(OSS), said(metadata=metadata)
    records.publish("task", Published({"examples": first(told.inputs.artifacts, "examples")}))
    told.inputs.artifacts["examples"].artifacts[0].CopyFrom(records.artifact("task", "examples"))
    executor_input.unwrap_metadata(told)
    found = json_format.MessageToDict(first(told.inputs.artifacts, "examples").metadata)
    assert {name: value for name, value in found.items() if name in metadata} == metadata


def output_of(metadata, uri="/minio/bucket/model"):
    """An ExecutorOutput as TFX writes it, made into what the launcher takes."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    from polytrainer.pipelines.kubeflow import executor_output

    whole = {"artifacts": {"model": {"artifacts": [{"uri": uri, "metadata": metadata}]}}}
    output = json_format.ParseDict(whole, pipeline_spec_pb2.ExecutorOutput())
    executor_output.adapt(output, MIRRORS)
    return json_format.MessageToDict(output)["artifacts"]["model"]["artifacts"][0]


def test_paths_become_uris_again_in_what_tfx_wrote():
    told = output_of({"current_model": "/s3/bucket/model", "pushed_destination": "/data/pushed", "blessed": 1})
    assert told["uri"] == "minio://bucket/model"
    assert told["metadata"] == {
        "current_model": "s3://bucket/model",
        "pushed_destination": "/data/pushed",
        "blessed": 1.0,
    }


def test_properties_without_a_value_are_left_out_because_the_launcher_fails_on_them():
    assert output_of({"nothing": None, "name": ""})["metadata"] == {"name": ""}


def test_what_was_told_in_the_store_is_told_where_the_launcher_looks(tmp_path):
    from polytrainer.pipelines.kubeflow import executor_output

    told, expected = tmp_path / "store" / "output.json", tmp_path / "mirror" / "task" / "output_metadata.json"
    told.parent.mkdir()
    told.write_text('{"artifacts": {"model": {"artifacts": [{"uri": "gs://bucket/model"}]}}}')
    executor_output.rewrite(str(told), str(expected), MIRRORS)
    assert json.loads(expected.read_text())["artifacts"]["model"]["artifacts"] == [{"uri": "gs://bucket/model"}]


@pytest.mark.parametrize(
    ("invocation", "problem"),
    [
        ("{{$}}", r"--json_serialized_invocation_args: got '\{\{\$\}\}'.+expected the JSON of a ExecutorInput"),
        ('{"inputs": {}}', r"got an ExecutorInput without outputs\.outputFile"),
        ('{"inputs": 3}', r"--json_serialized_invocation_args: got .+expected the JSON"),
    ],
)
def test_what_is_no_executor_input_is_refused(invocation, problem):
    from polytrainer.pipelines.kubeflow import executor_input

    with pytest.raises(KubeflowError, match=problem):
        executor_input.parse(invocation)


def test_a_field_of_a_newer_launcher_is_left_out():
    from polytrainer.pipelines.kubeflow import executor_input

    newer = json.dumps({"outputs": {"outputFile": "/tmp/kfp_outputs/output_metadata.json"}, "newer": {"than": "us"}})
    assert executor_input.parse(newer).outputs.output_file == "/tmp/kfp_outputs/output_metadata.json"


def test_only_file_based_example_gens_have_the_driver():
    from polytrainer.pipelines.kubeflow import file_driver

    step = said()
    step.inputs.parameter_values["input_config"].string_value = "{}"
    step.outputs.artifacts["examples"].artifacts.add()
    assert not file_driver.is_needed(step)  # BigQueryExampleGen has a query, and no folder
    step.inputs.parameter_values["input_base"].string_value = "/data"
    assert file_driver.is_needed(step)


def test_an_input_base_that_the_launcher_does_not_mirror_is_refused():
    from polytrainer.pipelines.kubeflow import file_driver

    step = said()
    step.inputs.parameter_values["input_base"].string_value = "minio://bucket/data"
    with pytest.raises(
        KubeflowError, match=r"input_base: got minio://bucket/data; expected a folder.+apache-beam\[aws\]"
    ):
        file_driver.run(step, declared())


@pytest.mark.parametrize(
    ("executor", "beam_args", "elsewhere"),
    [
        ("statistics_gen.executor.Executor", ["--runner=DataflowRunner", "--region=us"], True),
        ("statistics_gen.executor.Executor", ["--runner", "apache_beam.runners.portability.FlinkRunner"], True),
        ("statistics_gen.executor.Executor", ["--runner=FnApiRunner", "--direct_num_workers=1"], False),
        ("statistics_gen.executor.Executor", [], False),
        ("pusher.executor.Executor", ["--runner=DataflowRunner"], False),  # no Beam in it
    ],
)
def test_workers_of_beam_on_other_machines_are_noticed(executor, beam_args, elsewhere):
    from polytrainer.pipelines.kubeflow import beam

    assert beam.runs_elsewhere(f"tfx.components.{executor}", beam_args) is elsewhere


def test_what_runs_on_other_machines_stays_in_the_store_with_its_output_file():
    from polytrainer.pipelines.kubeflow import beam, executor_input

    step = said(uri="gs://bucket/examples")
    executor_input.drop_logs(step)
    first(step.outputs.artifacts, "statistics").uri = "gs://bucket/task/statistics"
    beam.keep_in_the_store(step, ["--runner=DataflowRunner"])
    assert first(step.inputs.artifacts, "examples").uri == "gs://bucket/examples"
    assert step.outputs.output_file == "gs://bucket/task/output_metadata.json"


def test_other_machines_cannot_read_minio():
    from polytrainer.pipelines.kubeflow import beam

    with pytest.raises(
        KubeflowError, match=r"--runner=DataflowRunner: got an artifact in minio://bucket/examples; expected .+gs://"
    ):
        beam.keep_in_the_store(said(), ["--runner=DataflowRunner"])


def test_it_hands_over_to_what_tfx_has_on_this_line():
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils, kubeflow_v2_run_executor
    from tfx.orchestration.kubeflow.v2.file_based_example_gen import driver
    from tfx.orchestration.portable import outputs_utils

    def arguments(function):
        return list(inspect.signature(function).parameters)

    assert arguments(kubeflow_v2_run_executor.main) == ["parsed_argv"]
    assert arguments(kubeflow_v2_run_executor._run_executor) == ["args", "beam_args"]
    assert arguments(driver.main) == ["args"]
    assert arguments(kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict) == ["inputs_dict", "name_from_id"]
    assert arguments(outputs_utils.make_output_dirs) == ["output_dict"]
    source = inspect.getsource(kubeflow_v2_run_executor)
    flags = ("--executor_class_path", "--json_serialized_invocation_args", "--json_serialized_inputs_spec_args")
    assert all(f"'{flag}'" in source for flag in flags)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """CsvExampleGen of spans, Producer → Consumer, Counter, and Failing, compiled, and run in this process."""
    from kubeflow_components import Consumer, Counter, Failing, Producer
    from tfx import v1 as tfx

    from polytrainer.pipelines import kubeflow
    from polytrainer.pipelines.kubeflow.local.contract import OSS
    from polytrainer.pipelines.kubeflow.local.pipeline_spec import CompiledPipeline
    from polytrainer.pipelines.kubeflow.local.run import LocalRun
    from polytrainer.pipelines.penguins.pipeline import local_beam_args

    folder = tmp_path_factory.mktemp("small")
    for span in ("1", "3", "2"):
        (folder / "data" / f"span-{span}").mkdir(parents=True)
        (folder / "data" / f"span-{span}" / "some.csv").write_text("x,y\n" + f"{span},2\n" * 9)
    splits = [tfx.proto.Input.Split(name="all", pattern="span-{SPAN}/*")]
    example_gen = tfx.components.CsvExampleGen(
        input_base=str(folder / "data"), input_config=tfx.proto.Input(splits=splits)
    )
    producer = Producer()
    consumer = Consumer(
        examples=producer.outputs["examples"], model=producer.outputs["model"], report=str(folder / "report.json")
    )
    nodes = [example_gen, producer, consumer, Counter(words="one two three"), Failing(words="the user's own words")]
    pipeline = tfx.dsl.Pipeline("small", "s3://bucket/root", components=nodes, beam_pipeline_args=local_beam_args())
    compiled = kubeflow.compile(pipeline, folder / "pipeline.yaml", image="registry.example.com/tfx:1")
    run = LocalRun(CompiledPipeline.read(compiled, OSS), folder)
    return SimpleNamespace(run=run, folder=folder, compiled=compiled)


def values_of(examples, feature):
    """All values of a feature of integers."""
    import tensorflow as tf

    files = [str(path) for path in examples.rglob("*.gz")]
    records = tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
    rows = [tf.train.Example.FromString(record) for record in records]
    return {value for row in rows for value in row.features.feature[feature].int64_list.value}


def test_a_file_based_example_gen_takes_the_newest_span_and_says_so(small_run):
    with emulation.in_this_process():
        examples = small_run.run.step("CsvExampleGen").artifacts["examples"]
    assert examples.metadata["custom:span"] == 3
    assert "num_files:1" in examples.metadata["input_fingerprint"]
    kept = small_run.run.store.path(examples.uri)
    assert values_of(kept, "x") == {3}


def test_a_component_gets_what_another_gave_through_the_store(small_run):
    from kubeflow_components import METADATA

    with emulation.in_this_process():
        produced = small_run.run.step("Producer").artifacts
        small_run.run.step("Consumer")
    report = json.loads((small_run.folder / "report.json").read_text())
    assert report["told"] == "by the producer"
    assert report["kinds"] == ["Examples", "Model"]
    assert report["splits"] == '["train"]'
    assert report["uri"].endswith("/Consumer/files/s3/" + produced["examples"].uri.removeprefix("s3://"))
    where = {"where": f"{produced['examples'].uri}/told.txt", "elsewhere": "/data/told.txt"}
    assert report["metadata"] == {**METADATA, **where}


def test_a_value_artifact_is_a_file_in_the_store(small_run):
    with emulation.in_this_process():
        count = small_run.run.step("Counter").artifacts["count"]
    assert small_run.run.store.path(count.uri).read_text() == "3"


def test_what_the_users_code_raises_comes_through_as_it_is_and_is_the_exit_status(small_run, monkeypatch):
    from polytrainer.pipelines.kubeflow.local.launcher import StepError

    monkeypatch.setenv("PYTHONPATH", str(Path(emulation.__file__).parent))
    with pytest.raises(StepError, match="Failing: exit status 1") as caught:  # of a process
        small_run.run.step("Failing")
    lines = caught.value.log.read_text().splitlines()
    assert lines[-1] == "ValueError: the user's own words"


def test_the_output_file_of_older_launchers_is_written_too(small_run, tmp_path, monkeypatch):
    """Before 2.17 it was /tmp/kfp_outputs/output_metadata.json, outside of the mirrors."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    from polytrainer.pipelines.kubeflow import entrypoint

    step = small_run.run._driver.executor_input("Counter", Mirrors(str(tmp_path)))
    older = tmp_path / "tmp" / "kfp_outputs" / "output_metadata.json"
    step.outputs.output_file = str(older)
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    arguments = ["--executor_class_path", "kubeflow_components.Counter_Executor"]
    arguments += ["--json_serialized_invocation_args", json_format.MessageToJson(step)]
    arguments += ["--json_serialized_inputs_spec_args", '{"parameters": {"words": {"parameterType": "STRING"}}}']
    entrypoint.run(entrypoint._parse(["entrypoint", *arguments, "--runner=FnApiRunner"]))
    output = json_format.Parse(older.read_text(), pipeline_spec_pb2.ExecutorOutput())
    assert first(output.artifacts, "count").uri == first(step.outputs.artifacts, "count").uri


def test_a_refusal_ends_the_step_with_its_message_alone():
    from polytrainer.pipelines.kubeflow import entrypoint

    arguments = entrypoint._parse(["entrypoint", "--executor_class_path=a.b", "--json_serialized_invocation_args=no"])
    with pytest.raises(SystemExit, match=r"^polytrainer: --json_serialized_invocation_args: got 'no'"):
        entrypoint.run(arguments)


def test_importing_the_entrypoint_imports_neither_kfp_nor_tfx():
    import subprocess
    import sys

    source = "import sys, polytrainer.pipelines.kubeflow.entrypoint\n"
    source += "print([name for name in ('kfp', 'tfx', 'tensorflow', 'torch', 'yaml') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True, cwd=Path("/"))
    assert done.stdout.strip() == "[]"
