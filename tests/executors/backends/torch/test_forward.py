"""How a model gets its features."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

pytestmark = pytest.mark.newest

FEATURES = {"x": 1, "y": 2}


@pytest.fixture
def caller():
    from polytrainer.executors.backends.torch.forward import caller

    return caller


@pytest.fixture
def module():
    """A module with a given forward."""
    import torch

    def make(forward):
        return type("Model", (torch.nn.Module,), {"forward": forward})()

    return make


TAKES_THE_DICT = {
    "a parameter that is no feature": lambda self, features: features,
    "and others with defaults": lambda self, features, training=False: features,
    "a default itself": lambda self, features=None: features,
    "and keywords": lambda self, features, **options: {**features, **options},
    "by position only": lambda self, features, /: features,
}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("how", TAKES_THE_DICT)
def test_the_dict(how, known, caller, module):
    assert caller(module(TAKES_THE_DICT[how]), FEATURES if known else None)(FEATURES) == FEATURES


def test_an_annotation_says_dict_even_where_the_name_is_a_feature(caller, module):
    def by_mapping(self, x: Mapping[str, Any]):
        return x

    def by_dict(self, x: dict):
        return x

    def by_a_name_of_a_type_checker(self, x: Mapping[str, Tensor]):  # noqa: F821
        return x

    for forward in (by_mapping, by_dict, by_a_name_of_a_type_checker):
        assert caller(module(forward), FEATURES)(FEATURES) == FEATURES


TAKES_NAMES = {
    "one of two": (lambda self, x: x, 1),
    "both, in another order": (lambda self, y, x: (y, x), (2, 1)),
    "by keyword only": (lambda self, *, y: y, 2),
    "a default that stays": (lambda self, x, scale=10: (x, scale), (1, 10)),
    "a default that a feature replaces": (lambda self, x, y=10: (x, y), (1, 2)),
    "all": (lambda self, **features: features, FEATURES),
    "all, some by name": (lambda self, x, **rest: (x, rest), (1, {"y": 2})),
}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("how", TAKES_NAMES)
def test_features_by_name(how, known, caller, module):
    forward, expected = TAKES_NAMES[how]
    assert caller(module(forward), FEATURES if known else None)(FEATURES) == expected


def test_functions_too(caller):
    assert caller(lambda features: features, FEATURES)(FEATURES) == FEATURES
    assert caller(lambda y: y, FEATURES)(FEATURES) == 2


def test_a_compiled_function(caller):
    import torch

    compiled = torch.compile(lambda y: y * 2, backend="eager")
    assert caller(compiled, FEATURES)({"x": torch.zeros(1), "y": torch.ones(1)}).item() == 2


@pytest.mark.parametrize("wrap", ["compile", "data_parallel", "both", "averaged"])
def test_wrapped_modules(wrap, caller):
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def forward(self, y):
            return y * 2

    model = Model()
    if wrap == "averaged":
        model = torch.optim.swa_utils.AveragedModel(model)
    if wrap in ("data_parallel", "both"):
        model = torch.nn.DataParallel(model)
    if wrap in ("compile", "both"):
        model = torch.compile(model, backend="eager")
    assert caller(model, FEATURES)({"x": torch.zeros(1), "y": torch.ones(1)}).item() == 2


def test_distributed_data_parallel_is_called_itself_and_not_what_it_wraps(caller, tmp_path):
    import torch
    from torch.distributed import destroy_process_group, init_process_group

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def forward(self, y):
            return self.layer(y)

    init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        model = torch.nn.parallel.DistributedDataParallel(Model())
        called = []
        model.register_forward_pre_hook(lambda *_: called.append(True))
        caller(model, FEATURES)({"x": torch.zeros(1, 1), "y": torch.ones(1, 1)})
        assert called
    finally:
        destroy_process_group()


def test_a_module_of_ones_own_called_module_is_no_wrapper(caller, module):
    import torch

    model = module(lambda self, x: x)
    model.module = torch.nn.Linear(1, 1)
    assert caller(model, FEATURES)(FEATURES) == 1


def test_what_is_no_feature_is_refused(module):
    from polytrainer.executors.backends.torch.forward import caller, check

    model = module(lambda self, x, z, scale=1: x)
    message = "forward: got the parameters z; expected parameters that are features, which are x, y. .*one dict"
    for refuses in (check, caller):
        with pytest.raises(ValueError, match=message):
            refuses(model, FEATURES)
    with pytest.raises(ValueError, match=message):
        caller(model)(FEATURES)


def test_a_model_that_takes_a_tensor_is_given_no_dict():
    import torch

    from polytrainer.executors.backends.torch.forward import check

    with pytest.raises(ValueError, match="forward: got the parameters input; expected"):
        check(torch.nn.Linear(1, 1), FEATURES)


def test_a_model_that_takes_no_feature():
    from polytrainer.executors.backends.torch.forward import check

    with pytest.raises(ValueError, match="forward: got the parameters args; expected at least one feature, of x, y"):
        check(lambda *args: 0, FEATURES)


def test_check_is_content_with_what_can_be_called(module):
    from polytrainer.executors.backends.torch.forward import check

    for forward in (*TAKES_THE_DICT.values(), *(forward for forward, _ in TAKES_NAMES.values())):
        check(module(forward), FEATURES)


@pytest.mark.parametrize("how", ["dict", "names"])
def test_a_call_costs_next_to_nothing(how, caller):
    def takes_dict(features):
        return None

    def takes_names(x, y):
        return None

    def microseconds(function):
        start = time.perf_counter()
        for _ in range(5_000):
            function()
        return (time.perf_counter() - start) / 5_000 * 1e6

    call = caller(takes_dict if how == "dict" else takes_names)
    call(FEATURES)
    direct = (lambda: takes_dict(FEATURES)) if how == "dict" else (lambda: takes_names(x=1, y=2))
    best = [min(microseconds(function) for _ in range(10)) for function in (lambda: call(FEATURES), direct)]
    assert best[0] - best[1] < 1
