"""Where the raw examples behind a transform graph are found when a pipeline is written."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.line


@pytest.fixture
def nodes(tmp_path):
    from tfx import v1 as tfx

    module = tmp_path / "module.py"
    module.write_text("def preprocessing_fn(inputs):\n    return inputs\n\ndef run_fn(fn_args):\n    pass\n")
    example_gen = tfx.components.ImportExampleGen(input_base=str(tmp_path))
    schema = tfx.dsl.Importer(source_uri=str(tmp_path), artifact_type=tfx.types.standard_artifacts.Schema)
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"], schema=schema.outputs["result"], module_file=str(module)
    )
    return example_gen, transform, str(module)


def trainer(module, **channels):
    from polytrainer import Trainer

    return Trainer(module_file=module, **channels)


def test_they_are_those_that_transform_has_read(nodes):
    example_gen, transform, module = nodes
    made = trainer(
        module,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
    )
    assert made.inputs["raw_examples"] is example_gen.outputs["examples"]


def test_they_may_be_named(nodes):
    from tfx.types import Channel, standard_artifacts

    _, transform, module = nodes
    others = Channel(type=standard_artifacts.Examples)
    made = trainer(
        module,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        raw_examples=others,
    )
    assert made.inputs["raw_examples"] is others


def test_of_a_graph_from_elsewhere_they_are_not_known(nodes):
    from tfx.types import Channel, standard_artifacts

    example_gen, _, module = nodes
    graph = Channel(type=standard_artifacts.TransformGraph)
    assert "raw_examples" not in trainer(module, examples=example_gen.outputs["examples"], transform_graph=graph).inputs
    assert "raw_examples" not in trainer(module, examples=example_gen.outputs["examples"]).inputs
