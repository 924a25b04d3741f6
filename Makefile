PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test fuzz bench lint clean

test: $(READY)  ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

fuzz: $(READY)  ## thousands of damaged files and made-up flags (the test suite tries a few)
	$(BIN)/python -m tests.fuzz

demo: $(READY)  ## the whole method on a made-up city, with pictures (results in demo/)
	$(BIN)/python experiments/demo.py

bench: $(VENV)/.ready-bench  ## every stage around the network against a plain reference
	$(BIN)/python benchmarks/bench.py --json benchmarks/data/results.json

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

clean:
	rm -rf $(VENV) demo

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

# fast-slic, which only the benchmark compares with, finds Cython when it is built; in this order.
$(VENV)/.ready-bench: $(READY)
	$(BIN)/python -m pip install --quiet --editable ".[bench]" setuptools wheel cython
	$(BIN)/python -m pip install --quiet --no-build-isolation fast-slic
	touch $@
