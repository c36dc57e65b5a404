"""polytrainer.Trainer beside TFX's own: same spec, same defaults, same errors; and what it has besides."""

from __future__ import annotations

import inspect
import json

import pytest

pytestmark = pytest.mark.line


@pytest.fixture(scope="module")
def tfx():
    from tfx import v1

    return v1


@pytest.fixture(scope="module")
def Trainer():
    import polytrainer

    return polytrainer.Trainer


@pytest.fixture
def channels(tfx):
    from tfx.types import standard_artifacts as artifacts

    return {
        "examples": tfx.dsl.Channel(type=artifacts.Examples),
        "transform_graph": tfx.dsl.Channel(type=artifacts.TransformGraph),
        "schema": tfx.dsl.Channel(type=artifacts.Schema),
        "base_model": tfx.dsl.Channel(type=artifacts.Model),
        "hyperparameters": tfx.dsl.Channel(type=artifacts.HyperParameters),
    }


def described(component):
    """A component's spec, in a form that can be compared with another's."""
    spec = component.spec
    return {
        "exec_properties": {name: value for name, value in spec.exec_properties.items() if value is not None},
        "inputs": {name: channel.type for name, channel in spec.inputs.items()},
        "outputs": {name: channel.type for name, channel in spec.outputs.items()},
        "annotation": spec.TYPE_ANNOTATION,
        "pip": len(component._pip_dependencies),
    }


def beside_tfx(tfx, Trainer, **arguments):
    import polytrainer

    theirs, ours = tfx.components.Trainer(**arguments), Trainer(**arguments)
    expected = described(theirs)
    expected["outputs"]["test_results"] = polytrainer.TestResults  # ours, beside theirs
    assert described(ours) == expected
    return ours


def test_every_argument_of_tfx_is_there(tfx, Trainer):
    theirs = set(inspect.signature(tfx.components.Trainer.__init__).parameters)
    assert theirs <= set(inspect.signature(Trainer.__init__).parameters)


def test_the_defaults(tfx, Trainer, channels):
    beside_tfx(tfx, Trainer, examples=channels["examples"], module_file="/a/module.py")


def test_every_channel_and_tfx_own_args(tfx, Trainer, channels):
    ours = beside_tfx(
        tfx,
        Trainer,
        **channels,
        run_fn="package.module.run_fn",
        train_args=tfx.proto.TrainArgs(splits=["a"], num_steps=100),
        eval_args=tfx.proto.EvalArgs(splits=["b"], num_steps=50),
        custom_config={"nested": {"a": [1, 2.5, None, "x"]}},
    )
    assert json.loads(ours.spec.exec_properties["train_args"]) == {"splits": ["a"], "num_steps": 100}


def test_args_as_dict_with_a_runtime_parameter_inside(tfx, Trainer, channels):
    steps = tfx.dsl.experimental.RuntimeParameter(name="steps", ptype=int)
    beside_tfx(
        tfx,
        Trainer,
        examples=channels["examples"],
        module_file="/a/module.py",
        train_args={"splits": ["train"], "num_steps": steps},
        eval_args={"splits": ["eval"], "num_steps": steps},
    )


def test_runtime_parameters_wherever_tfx_takes_them(tfx, Trainer, channels):
    def parameter(name):
        return tfx.dsl.experimental.RuntimeParameter(name=name, ptype=str)

    beside_tfx(
        tfx,
        Trainer,
        examples=channels["examples"],
        module_file=parameter("module"),
        train_args=parameter("train"),
        eval_args=parameter("eval"),
        custom_config=parameter("config"),
    )


def test_deprecated_transformed_examples_still_work_and_warn(tfx, Trainer, channels, caplog):
    arguments = {"transformed_examples": channels["examples"], "transform_graph": channels["transform_graph"]}
    beside_tfx(tfx, Trainer, **arguments, module_file="/a/module.py")
    assert "`transformed_examples` is deprecated" in caplog.text


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ({"module_file", "run_fn", "examples"}, "Exactly one of .*module_file.*run_fn"),
        ({"examples"}, "Exactly one of .*module_file.*run_fn"),
        ({"module_file"}, "Exactly one of 'example' or 'transformed_example' must be supplied"),
        ({"module_file", "examples", "transformed_examples", "transform_graph"}, "Exactly one of 'example'"),
        ({"module_file", "transformed_examples"}, "'transform_graph' must be supplied too"),
    ],
)
def test_wrong_combinations_are_the_same_value_errors(tfx, Trainer, channels, names, match):
    values = {**channels, "module_file": "/a/m.py", "run_fn": "m.run_fn", "transformed_examples": channels["examples"]}
    for component in (tfx.components.Trainer, Trainer):
        with pytest.raises(ValueError, match=match):
            component(**{name: values[name] for name in names})


def test_a_channel_of_another_type_is_the_same_type_error(tfx, Trainer, channels):
    for component in (tfx.components.Trainer, Trainer):
        with pytest.raises(TypeError, match="examples"):
            component(examples=channels["schema"], module_file="/a/m.py")


def test_a_missing_module_file_is_refused_when_it_is_packaged(Trainer, channels, tmp_path):
    trainer = Trainer(examples=channels["examples"], module_file=str(tmp_path / "gone.py"))
    with pytest.raises(ValueError, match=r"(?s)gone\.py.*does not exist"):
        trainer._resolve_pip_dependencies(str(tmp_path / "root"))


def test_user_code_is_packaged_as_tfx_packages_it(tfx, Trainer, channels, module_file, tmp_path):
    path = module_file("def run_fn(fn_args): ...", sibling="X = 1")
    packaged = {}
    for component in (tfx.components.Trainer, Trainer):
        trainer = component(examples=channels["examples"], module_file=path)
        trainer._resolve_pip_dependencies(str(tmp_path))
        packaged[component] = trainer.spec.exec_properties
    assert packaged[Trainer]["module_path"] == packaged[tfx.components.Trainer]["module_path"]
    assert packaged[Trainer]["module_file"] is None


# ---- what TFX's Trainer does not have


def test_our_own_args(Trainer, channels):
    import polytrainer

    trainer = Trainer(
        examples=channels["examples"],
        module_file="/a/m.py",
        train_args=polytrainer.TrainArgs(num_epochs=3, seed=0),
        eval_args=polytrainer.EvalArgs(test_splits=["test"]),
    )
    assert json.loads(trainer.spec.exec_properties["train_args"]) == {"num_epochs": 3, "seed": "0"}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"train_args": {"num_steps": 1, "num_epochs": 1}}, "at most one of num_steps and num_epochs"),
        ({"train_args": {"num_epochs": -1}}, r"train_args\.num_epochs: got -1"),
        ({"train_args": {"num_stepz": 1}}, 'train_args: .*"num_stepz"'),
        ({"eval_args": {"test_splits": ["train"]}}, r"eval_args\.test_splits"),
    ],
)
def test_args_that_make_no_sense_are_refused_while_the_pipeline_is_written(Trainer, channels, arguments, match):
    with pytest.raises(ValueError, match=match):
        Trainer(examples=channels["examples"], module_file="/a/m.py", **arguments)


def test_eval_args_for_train_args_is_a_type_error(tfx, Trainer, channels):
    with pytest.raises(TypeError, match=r"train_args: expected TrainArgs, got .*EvalArgs"):
        Trainer(examples=channels["examples"], module_file="/a/m.py", train_args=tfx.proto.EvalArgs())


def test_statistics_and_trainer_fn_on_every_line(tfx, Trainer, channels):
    from tfx.types import standard_artifacts

    trainer = Trainer(
        examples=channels["examples"],
        trainer_fn="package.module.trainer_fn",
        statistics=tfx.dsl.Channel(type=standard_artifacts.ExampleStatistics),
    )
    assert "statistics" in trainer.spec.inputs
    assert trainer.spec.exec_properties["trainer_fn"] == "package.module.trainer_fn"


def test_extra_inputs_are_inputs_of_the_node(tfx, Trainer, channels):
    from tfx.types import standard_artifacts

    trainer = Trainer(
        examples=channels["examples"],
        module_file="/a/m.py",
        extra_inputs={"teacher": tfx.dsl.Channel(type=standard_artifacts.Model)},
    )
    assert trainer.spec.inputs["extra_inputs_teacher"].type is standard_artifacts.Model
    assert "extra_inputs_teacher" not in Trainer.SPEC_CLASS.INPUTS


@pytest.mark.parametrize(
    ("extra", "error", "match"),
    [
        ({"not a name": None}, ValueError, "got the name 'not a name'"),
        ({"a": "text"}, TypeError, "got str; expected a"),
    ],
)
def test_extra_inputs_that_are_none(Trainer, channels, extra, error, match):
    with pytest.raises(error, match=match):
        Trainer(examples=channels["examples"], module_file="/a/m.py", extra_inputs=extra)


def test_test_results_are_examples_where_that_is_asked_for(tfx, Trainer, channels):
    from tfx.types import standard_artifacts

    trainer = Trainer(examples=channels["examples"], module_file="/a/m.py", test_results_as_examples=True)
    assert trainer.outputs["test_results"].type is standard_artifacts.Examples
    assert Trainer(examples=channels["examples"], module_file="/a/m.py").outputs["test_results"].type.TYPE_NAME == (
        "polytrainer.TestResults"
    )
    tfx.components.StatisticsGen(examples=trainer.outputs["test_results"])


def test_test_results_as_examples_where_there_are_none(tfx, Trainer, channels):
    class MyTrainer(Trainer):
        SPEC_CLASS = tfx.components.Trainer.SPEC_CLASS

    with pytest.raises(ValueError, match=r"outputs are \['model', 'model_run'\]; expected one with 'test_results'"):
        MyTrainer(examples=channels["examples"], module_file="/a/m.py", test_results_as_examples=True)


def test_a_subclass_may_have_its_own_spec_and_executor(tfx, Trainer, channels):
    from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
    from tfx.types import standard_artifacts
    from tfx.types.component_spec import ChannelParameter

    from polytrainer.executors.generic_executor import GenericExecutor

    class Spec(Trainer.SPEC_CLASS):
        OUTPUTS = {**Trainer.SPEC_CLASS.OUTPUTS, "predictions": ChannelParameter(type=standard_artifacts.Examples)}

    class Executor(GenericExecutor):
        pass

    class MyTrainer(Trainer):
        SPEC_CLASS = Spec
        EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    trainer = MyTrainer(examples=channels["examples"], module_file="/a/m.py")
    assert set(trainer.outputs) == {"model", "model_run", "test_results", "predictions"}
    assert trainer.executor_spec.executor_class is Executor


def test_a_subclass_may_even_have_tfx_own_spec(tfx, Trainer, channels):
    import polytrainer

    class MyTrainer(Trainer):
        SPEC_CLASS = tfx.components.Trainer.SPEC_CLASS

    beside = tfx.components.Trainer(
        examples=channels["examples"], module_file="/a/m.py", train_args=tfx.proto.TrainArgs(num_steps=3)
    )
    ours = MyTrainer(
        examples=channels["examples"], module_file="/a/m.py", train_args=polytrainer.TrainArgs(num_steps=3)
    )
    assert described(ours) == described(beside)


def test_our_executor_behind_tfx_own_trainer(tfx, Trainer, channels):
    trainer = tfx.components.Trainer(
        examples=channels["examples"], module_file="/a/m.py", custom_executor_spec=Trainer.EXECUTOR_SPEC
    )
    assert trainer.executor_spec.class_path == "polytrainer.executors.generic_executor.GenericExecutor"


def test_a_custom_executor_spec_is_taken_and_warned_of(Trainer, channels, caplog):
    from tfx.components.trainer.executor import GenericExecutor
    from tfx.dsl.components.base.executor_spec import ExecutorClassSpec

    spec = ExecutorClassSpec(GenericExecutor)
    trainer = Trainer(examples=channels["examples"], module_file="/a/m.py", custom_executor_spec=spec)
    assert trainer.executor_spec.executor_class is GenericExecutor
    assert "`custom_executor_spec` is deprecated" in caplog.text


def test_it_compiles_for_kubeflow_with_runtime_parameters_and_extra_inputs(tfx, Trainer, tmp_path):
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as kubeflow

    def parameter(name, default):
        return tfx.dsl.experimental.RuntimeParameter(name=name, ptype=str, default=default)

    example_gen = tfx.components.CsvExampleGen(input_base="/data")
    trainer = Trainer(
        examples=example_gen.outputs["examples"],
        run_fn=parameter("run-fn", "package.module.run_fn"),
        train_args=parameter("train-args", '{"num_steps": 3}'),
        eval_args=parameter("eval-args", "{}"),
        custom_config=parameter("custom-config", "{}"),
        extra_inputs={"more": example_gen.outputs["examples"]},
    )
    pipeline = tfx.dsl.Pipeline("compiles", pipeline_root=str(tmp_path), components=[example_gen, trainer])
    output = tmp_path / "pipeline.json"
    config = kubeflow.KubeflowV2DagRunnerConfig(default_image="image")
    kubeflow.KubeflowV2DagRunner(config=config, output_filename=str(output)).run(pipeline, write_out=True)
    spec = json.loads(output.read_text())["pipelineSpec"]
    inputs = spec["root"]["dag"]["tasks"]["Trainer"]["inputs"]
    assert {"examples", "extra_inputs_more"} <= set(inputs["artifacts"])
    assert inputs["parameters"]["train_args"] == {"componentInputParameter": "train-args"}
    outputs = spec["components"]["Trainer"]["outputDefinitions"]["artifacts"]
    assert "title: polytrainer.TestResults\n" in outputs["test_results"]["artifactType"]["instanceSchema"]
