"""transformers' own models, small and with random weights: any batch, any length, as they come, a ModelOutput."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.line, pytest.mark.usefixtures("one_thread")]

WORDS = 50
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "num_labels": 3}
LANGUAGE = {**SMALL, "vocab_size": WORDS, "max_position_embeddings": 40}
DISTILLED = {"vocab_size": WORDS, "dim": 32, "n_layers": 1, "n_heads": 4, "hidden_dim": 48, "num_labels": 3}


def sentences(batch: int) -> dict[str, Any]:
    """Of any length, the first one padded."""
    import torch

    mask = torch.ones(batch, 6 + batch, dtype=torch.long)
    mask[0, -3:] = 0
    words = torch.randint(2, WORDS, mask.shape)
    return {"input_ids": torch.where(mask == 1, words, 1), "attention_mask": mask}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Bert", {**LANGUAGE, "attn_implementation": "sdpa"}),
        ("Bert", {**LANGUAGE, "attn_implementation": "eager"}),
        ("DistilBert", DISTILLED),
        ("Roberta", LANGUAGE),
    ],
)
def test_sentences_are_classified(check: Callable[..., Any], kind: str, options: dict[str, Any]) -> None:
    import transformers

    model = getattr(transformers, f"{kind}ForSequenceClassification")(getattr(transformers, f"{kind}Config")(**options))
    check(model, sentences, dynamic={"input_ids": [1], "attention_mask": [1]})


def test_images_are_classified(check: Callable[..., Any]) -> None:
    import torch
    import transformers

    config = transformers.ViTConfig(**SMALL, image_size=16, patch_size=4)
    model = transformers.ViTForImageClassification(config)
    check(model, lambda batch: {"pixel_values": torch.randn(batch, 3, 16, 16)})
