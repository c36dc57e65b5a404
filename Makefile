# TFX=1.15 (default), 1.16 or 1.21 chooses the TFX line: make test TFX=1.21
TFX ?= 1.15
PYTHON = $$(tools/environment $(TFX))
TESTS ?=
# how many tests run at once: a process each, with a TensorFlow and a PyTorch of its own (4 GB)
WORKERS ?= 2
# PyTorch, NumPy and Python are those of 1.15 on 1.16: what rests on them is tried on 1.15 and 1.21
SAME_ON_1.16 = $(addprefix --ignore=tests/executors/,backends/torch comparison data export/aten_to_tf)
PYTEST = -m pytest -n $(WORKERS) --dist loadfile

.PHONY: help demo test test-all test-unit test-line test-newest check format protos reference locks clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo:  ## train the Palmer penguins with Keras, Estimator and PyTorch in one TFX pipeline
	@python=$(PYTHON) && "$$python" -m polytrainer.pipelines.local

test:  ## the tests
	@python=$(PYTHON) && "$$python" $(PYTEST) -m "not exhaustive" $(TESTS)

test-all:  ## the tests, and the whole of each matrix that they sample
	@python=$(PYTHON) && "$$python" $(PYTEST) $(TESTS)

test-unit:  ## the tier that needs neither TFX nor a framework; seconds
	@python=$(PYTHON) && "$$python" -m pytest -m unit $(TESTS)

test-line:  ## the tests that may come out differently on another TFX line
	@python=$(PYTHON) && "$$python" $(PYTEST) -m "line and not exhaustive" $(SAME_ON_$(TFX)) $(TESTS)

test-newest:  ## make test-newest TFX=1.21: those that may come out differently with a newer PyTorch, Keras or Python
	@python=$(PYTHON) && "$$python" $(PYTEST) -m "newest and not line and not exhaustive" $(TESTS)

check:  ## format, lint, types
	@python=$(PYTHON) && bin=$$(dirname "$$python") && \
	  "$$bin/ruff" format --check . && "$$bin/ruff" check . && "$$bin/mypy"

format:  ## format and mend what ruff can mend
	@python=$(PYTHON) && bin=$$(dirname "$$python") && "$$bin/ruff" format . && "$$bin/ruff" check --fix .

protos:  ## re-make proto/*_pb2.py and their .pyi
	@tools/protos

reference:  ## re-make docs/args.md from the comments of proto/*.proto
	@python3 tools/args_reference.py

locks:  ## re-make requirements/tfx-*.txt
	@tools/lock

clean:  ## remove the environments and everything a run left in the checkout
	rm -rf .venvs .dev runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
