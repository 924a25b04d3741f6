PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOWEST := .venv-lowest
ANNOTATORS := .venv-annotators
CHROMIUM ?= chromium
TEST_DEVICE ?= cuda
BENCH_DEVICE ?= cuda
BENCH_FLAGS ?=

.PHONY: demo test test-ranks test-lowest test-gpu test-annotators browser fuzz bench lint clean

test: $(READY)  ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test-ranks: $(READY)  ## some minutes: runs of two processes that are killed at every moment
	TEST_RANKS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal tests/several_ranks

# Without the tests that count what a GPU would do: PyTorch 2.6 can make fake CUDA tensors only where there is a GPU.
test-lowest: $(LOWEST)/.ready  ## the suite with the lowest versions that pyproject.toml names
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n auto --dist worksteal \
		--ignore tests/active_selection/test_gpu_operations.py --ignore tests/utils/test_gpu_steps.py

test-gpu: $(READY)  ## checks against the CPU; TEST_DEVICE=cuda:1 for another GPU
	TEST_DEVICE=$(TEST_DEVICE) $(BIN)/python -m pytest tests/gpu

# PICTURE=docs/label_studio.png writes that picture anew.
test-annotators: browser $(READY) $(ANNOTATORS)/label-studio/.ready $(ANNOTATORS)/datumaro/.ready
test-annotators:  ## packages in a real Label Studio and in Datumaro (CVAT, COCO)
	ANNOTATORS=$(CURDIR)/$(ANNOTATORS) CHROMIUM=$(CHROMIUM) OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest tests/annotators

fuzz: $(READY)  ## thousands of damaged files and made-up flags (the test suite tries a few)
	$(BIN)/python -m tests.fuzz

demo: $(READY)  ## the whole method on a made-up city, with pictures; WEIGHTS=PATH of a backbone
	$(BIN)/python experiments/demo.py $(if $(WEIGHTS),--weights "$(WEIGHTS)")

bench: $(VENV)/.ready-bench  ## every stage around the network against a plain reference
	$(BIN)/python benchmarks/bench.py --json benchmarks/data/results.json

.PHONY: bench-gpu
bench-gpu: $(READY)  ## a GPU's table of steps, passes and fits; BENCH_FLAGS="--json FILE" keeps it
	$(BIN)/python benchmarks/gpu.py --device $(BENCH_DEVICE) $(BENCH_FLAGS)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

clean:
	rm -rf $(VENV) $(LOWEST) $(ANNOTATORS) demo

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

# uv, since pip does not resolve to lowest versions. PYTHON=python3.10 chooses the lowest Python.
$(LOWEST)/.ready: pyproject.toml
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python \
		--resolution lowest-direct --editable ".[test]"
	touch $@

$(ANNOTATORS)/%/.ready: tests/annotators/%.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --requirement $<
	touch $@

browser:
	@command -v $(CHROMIUM) > /dev/null || { echo "make test-annotators: no $(CHROMIUM) here;" \
		"install it (apt-get install chromium), or name a browser: CHROMIUM=/path/to/it" >&2; exit 1; }

# fast-slic, which only the benchmark compares with, finds Cython when it is built; in this order.
$(VENV)/.ready-bench: $(READY)
	$(BIN)/python -m pip install --quiet --editable ".[bench]" setuptools wheel cython
	$(BIN)/python -m pip install --quiet --no-build-isolation fast-slic
	touch $@
