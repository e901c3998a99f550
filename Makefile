# The scripts that a person runs are the scripts that CI runs.
# auto: the fastest supported one that is found
PYTHON ?= auto
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup setup-browser demo test test-kernel test-fast lint format clean

setup: $(VENV)/.installed

# The stamp follows pyproject.toml and the kernel's sources: a change in either installs again.
$(VENV)/.installed: pyproject.toml $(wildcard histories/kernel/Cargo.toml histories/kernel/src/*.rs histories/kernel/src/*/*.rs)
	@.ci/venv $(PYTHON) $(VENV)
	@rm -f histories/_kernel*.so  # a stale kernel is worse than none
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/antipaxos run multi-paxos --nodes 5 --workload kv \
	  --faults partition,kill,pause,clock --time 30s --concurrency 10 --rate 200 --seed 7 --store runs/

test: setup lint test-kernel
	$(BIN)/python -m pytest

# The kernel's own tests, where there is a Rust toolchain.
test-kernel:
	@if command -v cargo >/dev/null; then \
	  cargo test --quiet --release --no-default-features --manifest-path histories/kernel/Cargo.toml; \
	fi

# What the tests of the pages need besides a Chromium, which they take from the system.
setup-browser: setup
	$(BIN)/python -m pip install --quiet --editable '.[dev,browser]'

# All tests that need neither containers nor network namespaces: for use while working.
test-fast: setup
	$(BIN)/python -m pytest -m 'not docker and not netns'

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
