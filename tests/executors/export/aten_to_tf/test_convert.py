"""What is refused, how it is said, and what a conversion costs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.line, pytest.mark.usefixtures("one_thread")]


@pytest.fixture
def unusual() -> Any:
    """A model with two operators that do not convert, one of them twice."""
    import torch
    from torch import nn

    class Unusual(nn.Module):
        def forward(self, x: Any) -> Any:
            first = torch.polygamma(2, x)
            second = torch.polygamma(3, x)
            return first + second + torch.linalg.qr(x)[0]

    return Unusual()


def test_all_that_is_unsupported_is_named_at_once_and_where(unusual: Any) -> None:
    import torch

    from polytrainer.executors.export.aten_to_tf import UnsupportedOperators, convert, export, unsupported

    program = export(unusual, (torch.rand(3, 4, 4),))
    found = unsupported(program)
    where = {each.target: each.where for each in found if each.target == "aten.polygamma.default"}
    assert len([each for each in found if each.target == "aten.polygamma.default"]) == 2
    assert len({each.target for each in found}) >= 2
    assert "test_convert.py" in where["aten.polygamma.default"]
    assert "`second = torch.polygamma(3, x)`" in where["aten.polygamma.default"]
    with pytest.raises(UnsupportedOperators, match=r"(?s)problems:.*polygamma.*polygamma") as caught:
        convert(program)
    assert list(caught.value.unsupported) == found
    assert "Write it with other operators" in str(caught.value)


def test_nothing_is_unsupported_where_nothing_is() -> None:
    import torch

    from polytrainer.executors.export.aten_to_tf import export, unsupported

    assert unsupported(export(torch.nn.Linear(3, 2), (torch.rand(2, 3),))) == []


def test_a_model_that_keeps_state_is_refused() -> None:
    import torch

    from polytrainer.executors.export.aten_to_tf import UnsupportedOperators, convert, export

    class Counter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return x + self.calls

    with pytest.raises(UnsupportedOperators, match=r"a change of the buffer 'calls'.*keeps no state"):
        convert(export(Counter(), (torch.rand(2, 3),)))


def test_an_operator_that_fails_is_named_with_the_line_that_calls_it() -> None:
    import torch

    from polytrainer.executors.export.aten_to_tf import ConversionError, convert, export

    class Model(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.complex(x, x).abs().logcumsumexp(-1) + torch.logcumsumexp(torch.complex(x, x), -1).real

    with pytest.raises(ConversionError, match=r"test_convert.py:\d+ `return torch.complex.*got aten.logcumsumexp"):
        convert(export(Model(), (torch.rand(2, 3),)))


def test_a_program_read_from_a_file_converts_too(tmp_path: Any) -> None:
    import torch

    from polytrainer.executors.export.aten_to_tf import convert, export

    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()).eval()
    torch.export.save(export(model, (torch.rand(2, 3),)), tmp_path / "model.pt2")
    converted = convert(torch.export.load(tmp_path / "model.pt2"))
    x = torch.rand(5, 3)
    assert converted(x.numpy()).numpy() == pytest.approx(model(x).detach().numpy(), abs=1e-6)


def test_exporting_leaves_the_mode_and_takes_one_example() -> None:
    import torch

    from polytrainer.executors.export.aten_to_tf import convert, export

    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5))
    converted = convert(export(model, (torch.rand(1, 3),)))
    assert model.training
    assert converted(torch.rand(7, 3).numpy()).shape == (7, 3)
    assert converted.input_specs[0][0].shape.as_list() == [None, 3]


def test_training_goes_on_without_changing_what_was_converted() -> None:
    import torch

    from polytrainer.executors.export.aten_to_tf import convert, export

    model = torch.nn.Linear(64, 64)
    x = torch.rand(2, 64)
    before = model(x).detach().numpy()
    converted = convert(export(model, (x,)))
    with torch.no_grad():
        model.weight.zero_()
    assert converted(x.numpy()).numpy() == pytest.approx(before, abs=1e-6)


MEMORY = """
from polytrainer.executors.backends import triton_beside_tensorflow
triton_beside_tensorflow.install()
import threading, time
import torch
from polytrainer.executors.export.aten_to_tf import convert, export

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def program(rows, width):
    model = torch.nn.Sequential(torch.nn.Embedding(rows, width), torch.nn.Linear(width, width))
    return export(model, (torch.zeros(2, 3, dtype=torch.long),)), sum(p.nbytes for p in model.parameters())

convert(program(10, 4)[0])
before, peak = resident(), [0]

def watch():
    while True:
        peak[0] = max(peak[0], resident())
        time.sleep(0.002)

threading.Thread(target=watch, daemon=True).start()
large, size = program(400_000, 128)
converted = convert(large)
print((peak[0] - before) / size)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_conversion_takes_no_more_than_twice_the_size_of_the_model(tmp_path: Any) -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) < 2.15
