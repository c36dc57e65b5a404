"""Evaluates a PyTorch program (`model.pt2`) in TFX's own Evaluator, by the two functions that a module may give it.

`Evaluator(module_path="polytrainer.executors.evaluation.torch_extractor", …)`: by this name every worker that has
polytrainer finds it. As a `module_file` it works, too: TFX then gives it another name, so nothing here is pickled.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow_model_analysis as tfma

from polytrainer.executors.evaluation import torch_model
from polytrainer.executors.export.signatures import TRANSFORM


def custom_eval_shared_model(
    eval_saved_model_path: str, model_name: str, eval_config: tfma.EvalConfig | None, **options: Any
) -> tfma.EvalSharedModel:
    """What TFX's Evaluator calls for each model, candidate and baseline.

    Args:
        eval_saved_model_path: `Format-Serving` of the model; that of a baseline may hold a SavedModel.
        model_name: Name of its ModelSpec.
        eval_config: What is to be computed.
        **options: What else TFX gives, e.g. `add_metrics_callbacks`.

    Raises:
        EvaluationError: If there is no program, or not what makes its features of examples.
    """
    options = {**options, "model_name": model_name, "eval_config": eval_config}
    specs = eval_config.model_specs if eval_config else ()
    is_baseline = any(spec.is_baseline and spec.name == model_name for spec in specs)
    if is_baseline and not torch_model.has_program(eval_saved_model_path):
        return tfma.default_eval_shared_model(eval_saved_model_path, **options)
    torch_model.check(eval_saved_model_path)
    construct = functools.partial(torch_model.TorchModel, eval_saved_model_path)
    loader = tfma.ModelLoader(construct_fn=construct, tags=["serve"])
    shared = tfma.default_eval_shared_model(
        eval_saved_model_path, custom_model_loader=loader, tags=loader.tags, **options
    )
    # whatever the ModelSpec says: what a Keras model's loader gives is asked for more than signatures
    return shared._replace(model_type=tfma.constants.TF_GENERIC)


def custom_extractors(
    eval_shared_model: tfma.MaybeMultipleEvalSharedModels, eval_config: tfma.EvalConfig, tensor_adapter_config: Any
) -> list[Any]:
    """TFMA's own extractors: to them a `TorchModel` looks like a SavedModel that was loaded.

    What a pipeline's author would have to tell them is told here: that labels, and features to slice by, come out of
    `transform_features`.

    Args:
        eval_shared_model: What `custom_eval_shared_model` returned; a list for several models.
        eval_config: What is to be computed.
        tensor_adapter_config: How raw features are read, where the Evaluator has a schema; None without.
    """
    models = eval_shared_model if isinstance(eval_shared_model, list) else [eval_shared_model]
    transforming = {model.model_name for model in models if torch_model.transforms(model.model_path)}
    config = tfma.EvalConfig()
    config.CopyFrom(eval_config)
    for spec in config.model_specs:
        if spec.name in transforming and not spec.preprocessing_function_names:
            spec.preprocessing_function_names.append(TRANSFORM)
    return tfma.default_extractors(  # type: ignore[no-any-return]
        eval_shared_model=eval_shared_model, eval_config=config, tensor_adapter_config=tensor_adapter_config
    )
