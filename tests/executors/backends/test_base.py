"""What all trainers have in common: what they are asked for is something they have."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.line

MODULE = """
    from polytrainer import {trainer}

    class Mine({trainer}):
        def model_fn(self):
            raise AssertionError("nothing should be made")

    run_fn = Mine(label_key="label").run_fn
"""
SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


@pytest.mark.parametrize(
    ("trainer", "train_args", "message"),
    [
        ("KerasTrainer", {"strategy": "ddp"}, "'ddp'; expected one of default, mirrored, .*those of KerasTrainer"),
        ("KerasTrainer", {"precision": "bf16-true"}, "'bf16-true'; expected one of 32, bf16-mixed, 16-mixed, "),
        ("KerasTrainer", {"strategy": "sp-amp", "max_grad_norm": 1.0}, "max_grad_norm: .* it is PyTorch's"),
        ("EstimatorTrainer", {"strategy": "mirrored"}, "'mirrored'; expected one of default, which are those of Est"),
        ("EstimatorTrainer", {"micro_batch_size": 0}, "micro_batch_size: .* EstimatorTrainer has nothing like it"),
        ("TorchTrainer", {"strategy": "mirrored"}, "'mirrored'; expected one of default, single, ddp, fsdp"),
    ],
)
def test_what_a_framework_does_not_have_is_refused(node, module_file, trainer, train_args, message):
    from polytrainer.executors.errors import PreflightError

    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    with pytest.raises(PreflightError, match=message):
        node.run(
            module_file=module_file(MODULE.format(trainer=trainer), f"asks_{trainer.lower()}"),
            train_args=json.dumps({"num_steps": 1, **train_args}),
        )
