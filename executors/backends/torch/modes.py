"""Training and evaluation mode of a model's modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from absl import logging
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """All modules in evaluation mode, within the context; then each as it was, as some may be frozen on purpose."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def put_into_training_mode(model: nn.Module) -> None:
    """Puts a model into training mode that arrives in evaluation mode, as `from_pretrained` of transformers leaves it.

    What is frozen in evaluation mode stays so: a module whose parameters all have `requires_grad=False`. In a model
    that is in training mode, modules in evaluation mode are the author's choice and stay so, too, but for
    transformers' models with parameters to train, which nobody has put there on purpose; others with parameters to
    train are warned of.
    """
    arrived = [] if model.training else [("", model)]
    for name, module in model.named_modules():
        if not module.training and _is_pretrained(module) and _has_trainable(module):
            arrived.append((name, module))
    for name, module in arrived:
        if not module.training:
            _train_what_is_not_frozen(module)
            shown = name or type(module).__name__
            logging.info("%s arrived in evaluation mode, and is put into training mode.", shown)
    kept = [name for name, module in model.named_modules() if not module.training and _has_trainable(module)]
    outermost = [name for name in kept if not any(name.startswith(f"{other}.") for other in kept)]
    if outermost:
        logging.warning(
            "In evaluation mode, and trained like that: %s. Their dropout and BatchNorm do not train; call train() on "
            "them in model_fn if that is not meant.",
            ", ".join(outermost),
        )


def _train_what_is_not_frozen(model: nn.Module) -> None:
    model.training = True
    for child in model.children():
        parameters = list(child.parameters())
        if child.training or not parameters or any(each.requires_grad for each in parameters):
            _train_what_is_not_frozen(child)


def _has_trainable(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _is_pretrained(module: nn.Module) -> bool:
    """Whether it is a model of transformers; to look at its classes imports nothing."""
    return any(
        kind.__name__ == "PreTrainedModel" and kind.__module__.partition(".")[0] == "transformers"
        for kind in type(module).__mro__
    )
