"""TorchTrainer in a Trainer node: artifacts in, artifacts out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.line

MODULE = """
    from torch import nn
    from polytrainer import Features, TorchTrainer, torch_batches

    class Mine(TorchTrainer):
        def model_fn(self):
            features = Features.from_schema(self.schema, exclude=["label"])
            return nn.Sequential(features, nn.Linear(features.out_features, 2))

    run_fn = Mine("label", metrics=["accuracy"]).run_fn

    def own_loop(fn_args):
        seen = [features["x"].flatten().tolist() for features, _ in torch_batches(fn_args, "train", "label")]
        assert sorted(sum(seen, [])) == [0, 1, 2, 3, 4, 5, 6, 7], seen
        assert [len(batch) for batch in seen] == [3, 3, 2], seen
        held = [features["x"].flatten().tolist() for features, _ in torch_batches(fn_args, "eval", "label")]
        assert held == [[0, 1, 2], [3]], held
        run_fn(fn_args)
"""
SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


@pytest.fixture
def torch_node(node, module_file):
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    node.exec_properties["train_args"] = json.dumps({"num_epochs": 3, "batch_size": 3, "seed": 1})
    node.exec_properties["eval_args"] = json.dumps({"test_splits": ["test"]})
    node.exec_properties["module_file"] = module_file(MODULE, "torch_module")
    return node


def test_a_module_of_ten_lines_trains_in_a_pipeline(torch_node):
    torch_node.run()
    properties = torch_node.model.mlmd_artifact.custom_properties
    assert properties["framework"].string_value == "pytorch"
    assert properties["train_steps"].int_value == 9
    assert {"metric.accuracy", "metric.loss", "metric.test.accuracy"} <= set(properties)
    assert Path(torch_node.model.uri, "Format-Torch", "model.safetensors").exists()
    assert Path(torch_node.model.uri, "Format-Torch", "model.pt2").exists()
    assert Path(torch_node.model.uri, "Format-TFMA", "saved_model.pb").exists()
    assert float(properties["parity.saved_model"].string_value) <= 1e-5
    assert Path(torch_node.model.uri, "Format-Serving", "saved_model.pb").exists()
    told = json.loads(Path(torch_node.model_run.uri, "trainer_state.json").read_text())
    assert told["versions"]["pytorch"].startswith("2.")
    assert told["examples"] == 24


def test_a_loop_of_ones_own_has_the_batches(torch_node, module_file):
    source = MODULE + "\n    trains = run_fn\n    run_fn = own_loop\n"
    torch_node.run(module_file=module_file(source.replace("run_fn(fn_args)\n", "trains(fn_args)\n", 2), "own_loop"))


def test_parquet_examples_are_read_which_tfxs_own_trainer_cannot(torch_node):
    import pyarrow as pa
    from pyarrow import parquet
    from tfx.components.util import examples_utils
    from tfx.proto import example_gen_pb2

    [examples] = torch_node.input_dict["examples"]
    for split, count in (("train", 8), ("eval", 4), ("test", 2)):
        folder = torch_node.examples_uri / f"Split-{split}"
        next(folder.iterdir()).unlink()
        columns = {
            "x": pa.array([[float(i)] for i in range(count)]),
            "label": pa.array([[i % 2] for i in range(count)]),
        }
        parquet.write_table(pa.table(columns), str(folder / "data_parquet-00000-of-00001.parquet"))
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_PARQUET)
    torch_node.run()
    told = json.loads(Path(torch_node.model_run.uri, "trainer_state.json").read_text())
    assert (told["step"], told["examples"]) == (9, 24)


@pytest.mark.exhaustive
def test_a_rank_that_fails_fails_the_node(torch_node, module_file):
    from polytrainer.executors.errors import TrainingError

    check = "import torch.distributed as dist; assert not dist.is_initialized(), 'no ranks please'"
    source = MODULE.replace("def model_fn(self):", f"def model_fn(self):\n            {check}")
    train_args = {"num_epochs": 3, "batch_size": 3, "seed": 1, "strategy": "ddp", "num_processes": 2}
    with pytest.raises(TrainingError, match=r"(?s)rank [01]: got AssertionError: no ranks please.*in model_fn"):
        torch_node.run(module_file=module_file(source, "fails"), train_args=json.dumps(train_args))
    assert not Path(torch_node.model.uri, "Format-Serving").exists()
