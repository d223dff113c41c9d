# Two commands: `make demo` shows the product, `make test` proves it. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
FUZZ_SECONDS ?= 600
BENCH ?=
ALSO ?=
SOAK ?= --seconds 600 --rate 10000 --faults 9

# What mostly waits for servers; a folder that is not named here is in the other half.
WAITING := $(addprefix tests/,alerts demo e2e grafana harm outage report sidecar)
COVERED = COVERAGE_FILE=$(CURDIR)/.coverage-$@ $(BIN)/python -m pytest -m 'not oldest' \
	--cov --cov-report=

.PHONY: demo demo-sidecar test lint suite waiting working coverage oldest pythons bench fuzz soak
.PHONY: dashboards setup clean

demo: $(VENV)/.demo
	@$(BIN)/otel-dbevents demo

# The same, and beside it once more through a Redis and a sidecar, both started here; compared.
demo-sidecar: $(VENV)/.demo
	@$(BIN)/otel-dbevents demo --sidecar

# The types, the rules, the whole suite in two halves, and beside it the suite on the oldest versions
# that we support: three at a time, since they wait as much as they work. Then what ALSO names.
test:
	@$(MAKE) --no-print-directory -j2 $(VENV)/.dev $(OLDEST)/.dev
	@exec env MAKE='$(MAKE)' $(BIN)/python .ci/lanes.py 'lint! working' 'waiting $(ALSO)' oldest
	@$(MAKE) --no-print-directory coverage

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

suite: $(VENV)/.dev
	@exec env MAKE='$(MAKE)' $(BIN)/python .ci/lanes.py working waiting
	@$(MAKE) --no-print-directory coverage

working: $(VENV)/.dev
	@rm -f .coverage-$@*
	$(COVERED) $(addprefix --ignore=,$(WAITING))

waiting: $(VENV)/.dev
	@rm -f .coverage-$@*
	$(COVERED) $(WAITING)

# Of both halves together.
coverage:
	@$(BIN)/coverage combine --quiet .coverage-working .coverage-waiting
	@$(BIN)/coverage report --fail-under=95

oldest: $(OLDEST)/.dev
	$(OLDEST)/bin/python -m pytest -m 'not e2e and not newest'

# What depends on the interpreter, on each CPython that is found on this machine and is newer, or has
# no GIL (DBEVENTS_PYTHONS names others, see there).
pythons:
	@.ci/pythons $(PYTHON)

# Contrib's instrumentor runs on SQLAlchemy 2.0 only, so both are measured there. The budgets hold
# where they hold in three runs: make bench BENCH='--runs 3' (docs/performance.md).
bench: $(OLDEST)/.dev
	$(OLDEST)/bin/python -m benchmarks $(BENCH)

# Looks for SQL that is read wrongly: the properties with many more examples, then texts at random.
fuzz: $(VENV)/.dev
	$(BIN)/python -m pytest -q tests/sources/test_text_properties.py --hypothesis-profile=long
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

# What a process holds after 50,000 rounds of statements and after 250,000 (five statements each),
# after 2,000 engines and after 10,000. Then ten minutes of events through Redis and a sidecar,
# 10,000 a second, with a fault every minute.
soak: $(VENV)/.dev
	$(BIN)/python -m tests.harm.endless statements 50000 250000
	$(BIN)/python -m tests.harm.endless engines 2000 10000
	$(BIN)/python -m tests.sidecar.soak $(SOAK)

# The JSON of Grafana's dashboards, from the Python in deploy/grafana.
dashboards: $(VENV)/bin/python
	$(BIN)/python -m deploy.grafana

setup: $(VENV)/.dev

clean:
	rm -rf $(VENV) $(OLDEST) .venv-3.* build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "Setting up $* (once)"
	@$(PYTHON) -m venv $*
	@$*/bin/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --editable '.[demo,redis]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --editable '.[demo]' --group dev
	@touch $@ $(VENV)/.demo

$(OLDEST)/.dev: pyproject.toml | $(OLDEST)/bin/python
	@$(OLDEST)/bin/python -m pip install --quiet --editable '.[demo]' --group oldest
	@touch $@

# The environments are kept: make would otherwise take them for intermediate files.
.PRECIOUS: %/bin/python
