"""`polytrainer kubeflow run-local`: the emulated launcher, with steps of a line each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import yaml

from polytrainer.pipelines.cli import main
from polytrainer.pipelines.errors import KubeflowError

pytestmark = pytest.mark.line
ANY = {"artifactType": {"instanceSchema": "title: tfx.Examples\n"}}
WRITES = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
TELLS = (
    "import json, pathlib, sys; pathlib.Path(json.loads(sys.argv[1])['outputs']['outputFile']).write_text(sys.argv[2])"
)


def task(source="", *args, inputs=(), outputs=(), parameters=None, after=(), **container):
    """A task that runs a line of Python: (what the pipeline says of it, its component, its container).

    Args:
        source: The line; `args` are its sys.argv[1:].
        inputs: (name, task, output) of artifacts.
        outputs: Names of artifacts.
        parameters: Of the form name → (type, TaskInputsSpec.InputParameterSpec).
        after: Tasks that it waits for.
        container: Further fields of the container.
    """
    parameters = parameters or {}
    artifacts = {
        name: {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": output}}
        for name, producer, output in inputs
    }
    said = {
        "dependentTasks": [*after, *(producer for _, producer, _ in inputs)],
        "inputs": {"artifacts": artifacts, "parameters": {name: spec for name, (_, spec) in parameters.items()}},
    }
    types = {name: {"parameterType": kind} for name, (kind, _) in parameters.items()}
    component = {
        "inputDefinitions": {"artifacts": {name: ANY for name, _, _ in inputs}, "parameters": types},
        "outputDefinitions": {"artifacts": dict.fromkeys(outputs, ANY)},
    }
    return said, component, {"image": "any", "command": ["python", "-c", source], "args": list(args), **container}


@pytest.fixture
def pipeline(tmp_path):
    """Writes a pipeline of tasks."""

    def write(*platform, root_parameters=None, **tasks):
        spec = {
            "pipelineInfo": {"name": "by-hand"},
            "schemaVersion": "2.1.0",
            "root": {"dag": {"tasks": {}}, "inputDefinitions": {"parameters": root_parameters or {}}},
            "components": {},
            "deploymentSpec": {"executors": {}},
        }
        for name, (said, component, container) in tasks.items():
            spec["root"]["dag"]["tasks"][name] = {"componentRef": {"name": name}, **said}
            spec["components"][name] = {"executorLabel": f"{name}_executor", **component}
            executor = container if "importer" in container else {"container": container}
            spec["deploymentSpec"]["executors"][f"{name}_executor"] = executor
        path = tmp_path / "pipeline.yaml"
        path.write_text(yaml.safe_dump_all([spec, *platform]))
        return path

    return write


@pytest.fixture
def run_local(tmp_path, capfd):
    """Calls the command; the exit status, and what it printed, steps by name and seconds left out."""

    def call(path, *arguments):
        try:
            status = main(["kubeflow", "run-local", str(path), "--root", str(tmp_path / "root"), *arguments])
        except SystemExit as exit:
            status = exit.code
        printed = capfd.readouterr()
        return SimpleNamespace(status=status, out=re.sub(r"\d+\.\d s", "_ s", printed.out), err=printed.err)

    return call


def log_of(tmp_path, name):
    [log] = tmp_path.glob(f"root/runs/*/{name}/log.txt")
    return log.read_text()


def printed_json(tmp_path, name):
    """What a step printed in its first line; the launcher may have added some."""
    return json.loads(log_of(tmp_path, name).splitlines()[0])


def test_tasks_run_in_order_each_with_what_the_one_before_left_in_the_store(pipeline, run_local, tmp_path):
    reads = "import os, sys; print(open(sys.argv[1]).read(), os.path.exists(sys.argv[2]))"
    other = "{{$.inputs.artifacts['data'].path}}/../other"
    path = pipeline(
        a_last=task(reads, "{{$.inputs.artifacts['data'].path}}", other, inputs=[("data", "b_first", "data")]),
        b_first=task(WRITES, "{{$.outputs.artifacts['data'].path}}", "left", outputs=["data", "other"]),
    )
    done = run_local(path)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[:2] == ["[1/2] b_first  _ s", "[2/2] a_last  _ s"]
    assert log_of(tmp_path, "a_last") == "left False\n"
    [kept] = tmp_path.glob("root/store/minio/mlpipeline/v2/artifacts/by-hand/*/b_first/*/data")
    assert kept.read_text() == "left"


def test_the_executor_input_is_that_of_open_source_kubeflow_pipelines(pipeline, run_local, tmp_path):
    path = pipeline(
        first=task(WRITES, "{{$.outputs.artifacts['data'].path}}", "left", outputs=["data"]),
        second=task("import sys; print(sys.argv[1])", "{{$}}", inputs=[("data", "first", "data")], outputs=["model"]),
    )
    assert run_local(path, "--pipeline-root", "gs://bucket/root").status == 0
    said = printed_json(tmp_path, "second")
    [examples] = said["inputs"]["artifacts"]["data"]["artifacts"]
    assert examples["type"] == {"instanceSchema": ""}
    assert re.fullmatch(r"gs://bucket/root/by-hand/[\w-]+/first/[0-9a-f-]{36}/data", examples["uri"])
    assert examples["metadata"]["display_name"] == "data"
    outputs = said["outputs"]["artifacts"]
    [logs] = outputs["executor-logs"]["artifacts"]
    assert logs["type"] == {"schemaTitle": "system.Artifact"}
    assert logs["uri"].endswith("/executor-logs-0")
    assert outputs["model"]["artifacts"][0]["type"] == {"instanceSchema": "title: tfx.Examples\n"}
    folder = outputs["model"]["artifacts"][0]["uri"].removesuffix("/model").removeprefix("gs://")
    assert said["outputs"]["outputFile"].endswith(f"/second/files/gcs/{folder}/output_metadata.json")


def test_as_vertex_does_it_types_are_said_and_uris_are_folders(pipeline, run_local, tmp_path):
    path = pipeline(
        first=task(WRITES, "{{$.outputs.artifacts['data'].uri}}", "left", outputs=["data"]),
        second=task("import sys; print(sys.argv[1])", "{{$}}", inputs=[("data", "first", "data")]),
    )
    assert run_local(path, "--no-oss").status == 0
    said = printed_json(tmp_path, "second")
    [data] = said["inputs"]["artifacts"]["data"]["artifacts"]
    assert data["type"] == {"instanceSchema": "title: tfx.Examples\n"}
    assert Path(data["uri"]).read_text() == "left"
    assert "artifacts" not in said["outputs"]


def test_a_step_that_fails_shows_the_end_of_its_log_and_ends_the_run(pipeline, run_local, tmp_path):
    path = pipeline(
        fails=task("print(*range(99), sep='\\n'); raise ValueError('the reason')"), never=task(after=["fails"])
    )
    done = run_local(path)
    assert (done.status, done.out) == (1, "[1/2] fails  failed after _ s\n")
    *tail, _, last = done.err.splitlines()
    assert len(tail) == 30
    assert tail[-1] == "ValueError: the reason"
    [log] = tmp_path.glob("root/runs/*/fails/log.txt")
    assert last == f"polytrainer: fails: exit status 1; all of its log: {log}"


def test_a_command_that_is_not_there_is_a_failed_step(pipeline, run_local):
    done = run_local(pipeline(step=task(command=["no-such-program"])))
    assert (done.status, done.out) == (1, "[1/1] step  failed after _ s\n")
    assert "polytrainer: step: its command cannot be started: [Errno 2]" in done.err


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ('{"artifacts": {}, "unknown": 1}', "is no ExecutorOutput: .*unknown"),
        ("not JSON", "is no ExecutorOutput"),
        ('{"artifacts": {"data": {"artifacts": [{"metadata": {"x": null}}]}}}', "metadata 'x' of null"),
    ],
)
def test_what_a_step_tells_is_read_strictly(pipeline, run_local, told, reason):
    done = run_local(pipeline(tells=task(TELLS, "{{$}}", told, outputs=["data"])))
    assert done.status == 1
    assert re.search(reason, done.err)


def test_what_a_step_tells_of_an_artifact_reaches_the_next(pipeline, run_local, tmp_path):
    told = {"artifacts": {"data": {"artifacts": [{"metadata": {"list": [1], "yes": True, "text": "a"}}]}}}
    path = pipeline(
        tells=task(TELLS, "{{$}}", json.dumps(told), outputs=["data"]),
        hears=task("import sys; print(sys.argv[1])", "{{$}}", inputs=[("data", "tells", "data")]),
    )
    assert run_local(path).status == 0
    heard = json.loads(log_of(tmp_path, "hears").splitlines()[-1])
    metadata = heard["inputs"]["artifacts"]["data"]["artifacts"][0]["metadata"]
    assert {name: metadata[name] for name in ("list", "yes", "text")} == {
        "list": {"list": [1.0]},
        "yes": 1.0,
        "text": "a",
    }


def test_parameters_are_given_or_have_defaults_and_have_their_type(pipeline, run_local, tmp_path):
    types = {
        "steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 7.0},
        "names": {"parameterType": "LIST"},
        "name": {"parameterType": "STRING"},
    }
    says = [f"{{{{$.inputs.parameters['{name}']}}}}" for name in (*types, "fixed", "job")]
    given = {name: (spec["parameterType"], {"componentInputParameter": name}) for name, spec in types.items()}
    fixed = {
        "fixed": ("NUMBER_DOUBLE", {"runtimeValue": {"constant": 0.25}}),
        "job": ("STRING", {"runtimeValue": {"constant": "{{$.pipeline_job_name}}"}}),
    }
    step = task("import sys; print(*sys.argv[1:], sep='|')", *says, parameters={**given, **fixed})
    path = pipeline(step=step, root_parameters=types)
    assert run_local(path, "--parameter", 'names=["a"]', "--parameter", "name=3=4").status == 0
    assert log_of(tmp_path, "step") == '7|["a"]|3=4|0.25|by-hand\n'
    for arguments, problem in (
        (("names=[]",), "parameter name: got no value; expected one. Give --parameter name=VALUE."),
        (("names=a", "name=b"), "parameter 'names': got 'a'; expected a LIST."),
        (("names=[]", "name=b", "other=c"), "parameter: got other; expected one of name, names, steps."),
    ):
        done = run_local(path, *(word for each in arguments for word in ("--parameter", each)))
        assert (done.status, done.err) == (1, f"polytrainer: {problem}\n")


def test_an_output_parameter_comes_from_what_is_told_or_from_its_file(pipeline, run_local, tmp_path):
    said, component, container = task(WRITES, "{{$.outputs.parameters['count'].output_file}}", " 3\n")
    component["outputDefinitions"]["parameters"] = {"count": {"parameterType": "NUMBER_INTEGER"}}
    source = {"taskOutputParameter": {"producerTask": "counts", "outputParameterKey": "count"}}
    reads = task("import sys; print(sys.argv[1])", "{{$.inputs.parameters['n']}}", parameters={"n": ("STRING", source)})
    assert run_local(pipeline(counts=(said, component, container), reads=reads)).status == 0
    assert log_of(tmp_path, "reads") == "3\n"


def platform(**settings):
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"step_executor": settings}}}}}


def test_a_step_has_its_variables_and_secrets(pipeline, run_local, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTSIDE", "o")
    prints = "import os; print(*(os.environ.get(name) for name in ('OUTSIDE', 'OWN', 'TOKEN', 'OTHER')))"
    constant = {"runtimeValue": {"constant": "wandb"}}
    secrets = [
        {"secretName": "wandb", "keyToEnv": [{"secretKey": "key", "envVar": "TOKEN"}]},
        {"secretNameParameter": constant, "keyToEnv": [{"secretKey": "other", "envVar": "OTHER"}]},
    ]
    document = platform(secretAsEnv=secrets, nodeSelector={"labels": {"gpu": "yes"}})
    path = pipeline(document, step=task(prints, env=[{"name": "OWN", "value": "mine"}]))
    done = run_local(path, "--secret", "wandb=key=s3cr=t")
    assert done.out.splitlines()[:2] == [
        "step: OTHER is not set; --secret wandb=other=VALUE sets it",
        "step: without effect on this machine: nodeSelector",
    ]
    assert log_of(tmp_path, "step") == "o mine s3cr=t None\n"


def test_an_importer_names_what_is_in_the_store(pipeline, run_local, tmp_path):
    kept = tmp_path / "root" / "store" / "gcs" / "bucket" / "model" / "weights"
    kept.parent.mkdir(parents=True)
    kept.write_text("imported")

    def importing(uri):
        kind = {"instanceSchema": "title: tfx.Model\n"}
        importer = {"artifactUri": {"constant": uri}, "typeSchema": kind}
        reads = "import sys; print(open(sys.argv[1] + '/weights').read())"
        said, component, _ = task(outputs=["model"])
        return pipeline(
            imports=(said, component, {"importer": importer}),
            reads=task(reads, "{{$.inputs.artifacts['model'].path}}", inputs=[("model", "imports", "model")]),
        )

    assert run_local(importing("gs://bucket/model")).status == 0
    assert log_of(tmp_path, "reads") == "imported\n"
    done = run_local(importing("/data/model"))
    assert "artifact that task 'imports' imports: got /data/model; expected a URI with a scheme" in done.err


def test_an_environment_without_kfp_is_told(pipeline, run_local):
    with mock.patch("polytrainer.pipelines.kubeflow.local.pipeline_spec.find_spec", return_value=None):
        done = run_local(pipeline(step=task()))
    assert done.status == 1
    assert "polytrainer: kfp: got no such package in this environment" in done.err


def changed(path, change):
    [spec] = yaml.safe_load_all(path.read_text())
    change(spec)
    path.write_text(yaml.safe_dump(spec))
    return path


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda spec: spec.update(schemaVersion="2.0.0"), r"of schema 2\.0\.0; expected schema 2\.1\.0, the only one"),
        (lambda spec: spec.update(unknown=1), r"unknown.+expected a PipelineSpec\..+kfp-pipeline-spec"),
        (lambda spec: spec.update(defaultPipelineRoot="/data"), r"the pipeline's root: got /data; expected a URI that"),
        (
            lambda spec: spec["root"]["dag"]["tasks"]["step"].update(triggerPolicy={"condition": "1 == 1"}),
            r"task 'step': got the condition 1 == 1; expected a task that runs a container",
        ),
        (
            lambda spec: spec["deploymentSpec"]["executors"].update(step_executor={"resolver": {}}),
            r"task 'step': got a resolver, which open-source Kubeflow Pipelines does not run either",
        ),
        (
            lambda spec: spec["root"]["dag"]["tasks"]["step"].update(dependentTasks=["other"]),
            r"got no task 'other'; expected one, as 'step' depends on it",
        ),
        (
            lambda spec: spec["root"]["dag"]["tasks"]["step"].update(dependentTasks=["step"]),
            r"got tasks in a circle: \['step', 'step'\]",
        ),
        (
            lambda spec: spec["deploymentSpec"]["executors"]["step_executor"]["container"].update(command=[], args=[]),
            r"task 'step': got a container without a command",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(pipeline, run_local, change, problem):
    done = run_local(changed(pipeline(step=task()), change))
    assert done.status == 1
    assert re.search(problem, done.err)


@pytest.mark.parametrize(
    ("text", "got"),
    [("pipelineSpec: {}", "a PipelineJob, which is Vertex's"), ("- 1", "something else"), ("a: [", "while parsing")],
)
def test_a_file_that_is_no_pipeline_is_refused(tmp_path, text, got):
    from polytrainer.pipelines.kubeflow.local.contract import OSS
    from polytrainer.pipelines.kubeflow.local.pipeline_spec import CompiledPipeline

    (tmp_path / "some.yaml").write_text(text)
    with pytest.raises(KubeflowError, match=rf"some\.yaml: got {got}"):
        CompiledPipeline.read(tmp_path / "some.yaml", OSS)
    with pytest.raises(KubeflowError, match="No such file"):
        CompiledPipeline.read(tmp_path / "none.yaml", OSS)


@pytest.mark.parametrize(
    ("arguments", "expected"), [(["--parameter", "a"], "NAME=VALUE"), (["--secret", "a=b"], "NAME=KEY=VALUE")]
)
def test_options_say_their_form(arguments, expected, capsys):
    with pytest.raises(SystemExit):
        main(["kubeflow", "run-local", "pipeline.yaml", *arguments])
    assert f"got {arguments[1]!r}; expected {expected}" in capsys.readouterr().err
