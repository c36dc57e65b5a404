"""One line swapped in pipelines that were written for TFX's Trainer, with TFX's own unmodified example modules."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.line]


def beam_args():
    from polytrainer.pipelines.penguins.pipeline import local_beam_args

    return local_beam_args()


def run(root: Path, components):
    """Runs components through LocalDagRunner with real MLMD, and returns its store."""
    from ml_metadata.metadata_store import MetadataStore
    from tfx import v1 as tfx

    config = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    pipeline = tfx.dsl.Pipeline(
        "swap", str(root / "artifacts"), components=components, metadata_connection_config=config,
        beam_pipeline_args=beam_args(),
    )  # fmt: skip
    try:
        tfx.orchestration.LocalDagRunner().run(pipeline)
    finally:
        store = MetadataStore(config)
    return store


def live(store, type_name):
    """The published artifacts of a type."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    return [a for a in store.get_artifacts_by_type(type_name) if a.state == mlmd.Artifact.LIVE]


@pytest.fixture
def importer(node):
    """The Examples of the `node` fixture as a channel."""
    from tfx import v1 as tfx

    return tfx.dsl.Importer(
        source_uri=str(node.examples_uri),
        artifact_type=tfx.types.standard_artifacts.Examples,
        properties={"split_names": '["train", "eval", "test"]'},
    ).with_id("examples")


def test_the_taxi_pipeline_with_tfx_own_module(tmp_path):
    """`taxi_utils.py` is an Estimator by `trainer_fn` on TFX 1.15, and Keras by `run_fn` from 1.16 on."""
    import tensorflow as tf
    import tfx as tfx_package
    from tfx import v1 as tfx

    from polytrainer import Trainer  # the one line

    if tfx_package.__version__.startswith("1.16"):
        pytest.skip("with Keras 3.12 this module fails behind TFX's own Trainer too: inputs not connected to outputs")
    taxi = Path(tfx_package.__file__).parent / "examples" / "chicago_taxi_pipeline"
    module = tmp_path / "code" / "taxi_utils.py"  # alone in its folder, as a user would have it
    module.parent.mkdir()
    module.write_bytes((taxi / "taxi_utils.py").read_bytes())

    example_gen = tfx.components.CsvExampleGen(input_base=str(taxi / "data" / "simple"))
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=False)
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"], schema=schema_gen.outputs["schema"], module_file=str(module)
    )
    trainer = Trainer(
        module_file=str(module),
        examples=transform.outputs["transformed_examples"],
        schema=schema_gen.outputs["schema"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(num_steps=50),
        eval_args=tfx.proto.EvalArgs(num_steps=5),
    )
    store = run(tmp_path, [example_gen, statistics_gen, schema_gen, transform, trainer])
    [model] = live(store, "Model")
    assert "serving_default" in model.custom_properties["signatures"].string_value
    assert tf.saved_model.contains_saved_model(f"{model.uri}/Format-Serving")
    if tf.__version__ < "2.16":
        assert model.custom_properties["framework"].string_value == "estimator"
        assert model.custom_properties["train_steps"].int_value == 50
        assert tf.saved_model.contains_saved_model(f"{model.uri}/Format-TFMA")
    else:
        assert model.custom_properties["framework"].string_value == "keras"


def test_the_penguin_pipeline_with_tfx_own_module(tmp_path):
    """The data of TFX's own tests, which its wheel has from 1.16 on."""
    import tensorflow as tf
    import tfx as tfx_package
    from tfx import v1 as tfx

    from polytrainer import Trainer

    home = Path(tfx_package.__file__).parent
    data = home / "components" / "testdata" / "penguin"
    if not data.exists():
        pytest.skip("the wheel of this TFX has no penguin data")
    module = tmp_path / "code" / "penguin_utils_keras.py"
    module.parent.mkdir()
    module.write_bytes((home / "examples" / "penguin" / "penguin_utils_keras.py").read_bytes())

    splits = [tfx.proto.Input.Split(name=name, pattern=f"Split-{name}/*") for name in ("train", "eval")]
    example_gen = tfx.components.ImportExampleGen(
        input_base=str(data / "data"), input_config=tfx.proto.Input(splits=splits)
    )
    schema = tfx.components.ImportSchemaGen(schema_file=str(data / "schema" / "schema.pbtxt"))
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"], schema=schema.outputs["schema"], module_file=str(module)
    )
    trainer = Trainer(
        module_file=str(module),
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(num_steps=20),
        eval_args=tfx.proto.EvalArgs(num_steps=2),
    )
    [model] = live(run(tmp_path, [example_gen, schema, transform, trainer]), "Model")
    assert model.custom_properties["framework"].string_value == "keras"
    assert set(tf.saved_model.load(f"{model.uri}/Format-Serving").signatures) == {
        "serving_default",
        "transform_features",
    }


def test_our_executor_behind_tfx_own_trainer(tmp_path, importer, saves_a_model):
    from tfx import v1 as tfx

    from polytrainer import Trainer

    trainer = tfx.components.Trainer(
        module_file=saves_a_model, examples=importer.outputs["result"], custom_executor_spec=Trainer.EXECUTOR_SPEC
    )
    [model] = live(run(tmp_path, [importer, trainer]), "Model")
    assert model.custom_properties["signatures"].string_value == "serving_default"


def test_extra_inputs_and_an_empty_base_model_reach_the_user(tmp_path, importer, module_file):
    """The first run of a pipeline that starts from its latest blessed model has no such model yet."""
    from tfx import v1 as tfx

    from polytrainer import Trainer

    source = """
        import pathlib
        def run_fn(fn_args):
            [extra] = fn_args.extra_inputs["more"]
            pathlib.Path(fn_args.serving_model_dir).mkdir(parents=True)
            pathlib.Path(fn_args.serving_model_dir, "model.txt").write_text(f"{extra.uri} {fn_args.base_model}")
    """
    latest = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("latest_blessed")
    trainer = Trainer(
        module_file=module_file(source),
        examples=importer.outputs["result"],
        base_model=latest.outputs["model"],
        extra_inputs={"more": importer.outputs["result"]},
    )
    [model] = live(run(tmp_path, [importer, latest, trainer]), "Model")
    told = Path(model.uri, "Format-Serving", "model.txt").read_text()
    assert told == f"{importer.outputs['result'].producer_component.exec_properties['artifact_uri']} None"


def test_the_latest_blessed_model_is_where_the_next_run_starts(tmp_path, importer, module_file, capfd):
    """Twice the same pipeline, Evaluator and all: the first run has nothing to start from, the second has."""
    import tensorflow_model_analysis as tfma
    from tfx import v1 as tfx

    from polytrainer import Trainer

    source = """
        import tensorflow as tf
        from polytrainer import KerasTrainer

        class Mine(KerasTrainer):
            def model_fn(self):
                inputs = {"x": tf.keras.Input((1,), name="x")}
                out = tf.keras.layers.Dense(1, activation="sigmoid", name="out")(inputs["x"])
                model = tf.keras.Model(inputs, out)
                model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
                return model

        spec = {"x": tf.io.FixedLenFeature([1], tf.float32), "label": tf.io.FixedLenFeature([1], tf.int64)}
        run_fn = Mine(label_key="label", feature_spec=spec).run_fn
    """
    latest = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("latest_blessed")
    trainer = Trainer(
        module_file=module_file(source, "warm_started"),
        examples=importer.outputs["result"],
        base_model=latest.outputs["model"],
        train_args={"num_epochs": 1, "batch_size": 4},
    )
    threshold = tfma.MetricThreshold(value_threshold=tfma.GenericValueThreshold(lower_bound={"value": 0.0}))
    spec = tfma.ModelSpec(
        label_key="label", prediction_key="outputs", preprocessing_function_names=["transform_features"]
    )
    metric = tfma.MetricConfig(class_name="BinaryAccuracy", threshold=threshold)
    config = tfma.EvalConfig(
        model_specs=[spec],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["label"])],
        metrics_specs=[tfma.MetricsSpec(metrics=[metric])],
    )
    evaluator = tfx.components.Evaluator(
        examples=importer.outputs["result"], model=trainer.outputs["model"], eval_config=config
    )
    nodes = [importer, latest, trainer, evaluator]
    run(tmp_path, nodes)
    assert "starting from" not in capfd.readouterr().out
    run(tmp_path, nodes)
    assert "1 layers loaded (out)" in capfd.readouterr().out


def test_the_newest_examples_are_those_that_came_in_and_not_the_test_results(tmp_path, importer, saves_a_model):
    """A rolling window trains on the newest Examples of the store; a Trainer must not add any."""
    from tfx import v1 as tfx

    from polytrainer import Trainer

    newest = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestArtifactStrategy,
        examples=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Examples),
    ).with_id("newest")
    newest.add_upstream_node(importer)
    for steps in (1, 2):
        trainer = Trainer(
            module_file=saves_a_model, examples=newest.outputs["examples"], train_args={"num_steps": steps}
        )
        store = run(tmp_path, [importer, newest, trainer])
        assert len(live(store, "Model")) == steps
    assert len(live(store, "Examples")) == 1
    assert len(live(store, "polytrainer.TestResults")) == 2


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("def run_fn(fn_args: pass\n", "a syntax error at line 1"),
        ("import sys\ndef run_fn(fn_args): sys.exit(1)\n", r"a call of exit\(1\) while training"),
        ("def run_fn(fn_args): ...\n", "run_fn failed to generate model"),
        ("import os\ndef run_fn(fn_args): os.makedirs(fn_args.serving_model_dir)\n", "an empty folder"),
    ],
)
def test_a_failed_run_publishes_nothing(tmp_path, importer, module_file, source, match):
    from ml_metadata.metadata_store import MetadataStore
    from tfx import v1 as tfx

    from polytrainer import Trainer

    trainer = Trainer(module_file=module_file(source), examples=importer.outputs["result"])
    with pytest.raises((ValueError, RuntimeError), match=match):
        run(tmp_path, [importer, trainer])
    config = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    store = MetadataStore(config)
    assert live(store, "Model") == live(store, "ModelRun") == []
    assert list((tmp_path / "artifacts" / "Trainer" / "model").glob("*")) == []
