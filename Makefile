# `make` lists the commands. Every one sets up what it needs and skips what is up to date.

PYTHON ?= python3
CONFIG ?= configs/mnist_cnn.yaml
N      ?= 200
SEED   ?= 0
TORCH  := $(shell sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
# The stamp is named after all that the environment is made of: another lock, Python or torch is another environment.
STAMP  := .venv/.ready-$(shell { cat requirements.lock pyproject.toml Makefile; $(PYTHON) -V; } 2>/dev/null | cksum | cut -d' ' -f1)
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup run up test test-slow check bench format lock schema race kill-sweep soak bad-disks bit-flips rebuild-proof gate-simulation guards clean

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s'|'

setup: $(STAMP)  ## create .venv and install everything (the others do it by themselves)

$(STAMP):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"modelworks needs Python 3.11 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}: try make PYTHON=python3.12")'
	@echo "setting up .venv (a few minutes the first time)"
	@test -x $(BIN)/python && $(BIN)/python -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] not in open(".venv/pyvenv.cfg").read())' || $(PYTHON) -m venv --clear .venv
	@rm -f .venv/.ready-*
	@$(PIP) $(TORCH)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	@$(PIP) --no-deps --require-hashes -r .venv/uv.lock
	@# uv takes a tenth of pip's time, but knows nothing of an index set in pip's configuration: then pip does it.
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r requirements.lock \
	    || $(PIP) --no-deps --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(BIN)/python -m modelworks.cli.setup
	@touch $@

run: $(STAMP)  ## bring a pipeline up to date, from its data to production: make run CONFIG=configs/digits_cnn.yaml
	@$(BIN)/modelworks run $(CONFIG)

up: $(STAMP)  ## the MLflow and Prefect pages and the scheduler, until Ctrl-C
	@$(BIN)/modelworks up

test: $(STAMP)  ## all tests but the slow ones, on real libraries and small real data
	@# One thread per process: two test workers with two threads each would fight over two cores.
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(STAMP)  ## the slow tests: Ray, every command after every foreign action
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

check: $(STAMP)  ## style, types, layers, dependencies
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/deptry .

bench: $(STAMP)  ## measure against other ways of doing the same work
	@# The peers, on top of what everything else needs; nothing is done when they are there.
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r benchmarks/requirements.lock \
	    || $(PIP) --no-deps --require-hashes -r benchmarks/requirements.lock \
	    || echo "the peers cannot be installed: the benchmarks name those that are missing and run without them"
	@$(BIN)/python -m benchmarks

race: $(STAMP)  ## eight processes promote at once, a thousand times each; then without the lock, which must be noticed
	@OMP_NUM_THREADS=1 $(BIN)/python tests/race.py
	@! OMP_NUM_THREADS=1 $(BIN)/python tests/race.py --attempts 25 --lock none

kill-sweep: $(STAMP)  ## kill a CNN's and a transformer's run at every place the code names, and check what comes after
	@PYTHONPATH=tests $(BIN)/python -m faults.kill_sweep

soak: $(STAMP)  ## kill runs at random times: make soak N=200 SEED=1
	@PYTHONPATH=tests $(BIN)/python -m faults.soak --kills $(N) --seed $(SEED)

bad-disks: $(STAMP)  ## whole runs on disks that are full or fail, and beside a locked database; needs root and strace
	@PYTHONPATH=tests $(BIN)/python -m faults.bad_disks

bit-flips: $(STAMP)  ## flip 1,000 bits in all kinds of stored bytes: each must be found, and none used
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python tests/security/bit_flips.py 1000 $(SEED)

rebuild-proof: $(STAMP)  ## make versions of every kind of model again from their records, and spoil that in every way
	@$(BIN)/python tests/rebuild_proof.py

gate-simulation: $(STAMP)  ## how often the gate errs, over thousands of simulated test sets
	@OMP_NUM_THREADS=1 $(BIN)/python tests/gate_simulation.py

guards: $(STAMP)  ## switch off every guard in turn: a test must notice each
	@$(BIN)/python tests/guards.py

format: $(STAMP)  ## put the code in its usual layout
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

schema: $(STAMP)  ## write configs/schema.json anew
	@$(BIN)/python -m modelworks.config > configs/schema.json

lock: $(STAMP)  ## resolve the newest versions that pyproject.toml allows into requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    -o requirements.lock
	@$(BIN)/uv pip compile --group bench --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    -c requirements.lock -o benchmarks/requirements.lock

clean:  ## delete what can be made again; data, models and history stay
	@rm -rf .venv .modelworks/stages .modelworks/decoded .mypy_cache .pytest_cache .ruff_cache
