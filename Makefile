# `make` lists the commands. Each one sets up the environment first if it is out of date.

PYTHON ?= python3
CONFIG ?= configs/mnist_cnn.yaml
N      ?= 200
SEED   ?= 0
TORCH  := $(shell sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
# The stamp's name contains a checksum of everything that defines the environment: lock file, Python and torch version.
STAMP  := .venv/.ready-$(shell { cat requirements.lock pyproject.toml Makefile; $(PYTHON) -V; } 2>/dev/null | cksum | cut -d' ' -f1)
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup run up test test-slow check bench format lock schema race kill-sweep soak bad-disks bit-flips rebuild-proof gate-simulation guards clean

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s'|'

setup: $(STAMP)  ## create .venv and install everything (the other commands do this if needed)

$(STAMP):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"modelworks needs Python 3.11 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}: try make PYTHON=python3.12")'
	@echo "setting up .venv (a few minutes the first time)"
	@test -x $(BIN)/python && $(BIN)/python -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] not in open(".venv/pyvenv.cfg").read())' || $(PYTHON) -m venv --clear .venv
	@rm -f .venv/.ready-*
	@$(PIP) $(TORCH)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	@$(PIP) --no-deps --require-hashes -r .venv/uv.lock
	@# uv takes a tenth of pip's time but ignores an index in pip's configuration: then pip installs.
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r requirements.lock \
	    || $(PIP) --no-deps --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(BIN)/python -m modelworks.cli.setup
	@touch $@

run: $(STAMP)  ## bring a pipeline up to date: make run CONFIG=configs/digits_cnn.yaml
	@$(BIN)/modelworks run $(CONFIG)

up: $(STAMP)  ## serve the MLflow and Prefect UIs and run the scheduler until Ctrl-C
	@$(BIN)/modelworks up

test: $(STAMP)  ## run the tests except the slow ones, with real libraries and small real data
	@# One thread per process, because two test workers share two cores.
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(STAMP)  ## run the slow tests: whole pipelines, kills, Ray, every command after an action in a UI
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

check: $(STAMP)  ## check style, types, layers and dependencies
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/deptry .

bench: $(STAMP)  ## run the benchmarks against other tools
	@# Installs the other tools, if they are not installed.
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r benchmarks/requirements.lock \
	    || $(PIP) --no-deps --require-hashes -r benchmarks/requirements.lock \
	    || echo "the other tools cannot be installed: the benchmarks name the missing ones and run without them"
	@$(BIN)/python -m benchmarks

race: $(STAMP)  ## let eight processes promote concurrently, with the lock and without (which must be detected)
	@OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python tests/programs/race.py
	@! OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python tests/programs/race.py --attempts 25 --lock none

kill-sweep: $(STAMP)  ## kill a CNN's and a transformer's run at every fault point, and check the next run
	@PYTHONPATH=tests $(BIN)/python -m faults.kill_sweep

soak: $(STAMP)  ## kill runs at random times: make soak N=200 SEED=1
	@PYTHONPATH=tests $(BIN)/python -m faults.soak --kills $(N) --seed $(SEED)

bad-disks: $(STAMP)  ## run pipelines with full or failing disks and locked databases; needs root and strace
	@PYTHONPATH=tests $(BIN)/python -m faults.bad_disks

bit-flips: $(STAMP)  ## flip 1,000 bits in all kinds of stored files: each must be found
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONPATH=tests $(BIN)/python tests/security/bit_flips.py 1000 $(SEED)

rebuild-proof: $(STAMP)  ## rebuild versions of every kind of model, also with changed data and libraries
	@PYTHONPATH=tests $(BIN)/python tests/programs/rebuild_proof.py

gate-simulation: $(STAMP)  ## measure the gate's error rates on thousands of simulated test sets
	@OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python tests/programs/gate_simulation.py

guards: $(STAMP)  ## remove each guard in turn: a test must fail
	@PYTHONPATH=tests $(BIN)/python tests/programs/guards.py

format: $(STAMP)  ## format the code and apply automatic fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

schema: $(STAMP)  ## regenerate configs/schema.json
	@$(BIN)/python -m modelworks.config > configs/schema.json

lock: $(STAMP)  ## update requirements.lock to the newest versions that pyproject.toml allows
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    -o requirements.lock
	@$(BIN)/uv pip compile --group bench --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    -c requirements.lock -o benchmarks/requirements.lock

clean:  ## delete everything that can be regenerated; keep data, models and history
	@rm -rf .venv .modelworks/stages .modelworks/decoded .mypy_cache .pytest_cache .ruff_cache
