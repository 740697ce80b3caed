# Everything a developer types. `make` alone lists it. ARGS goes to the program: make run ARGS=--no-sandbox

PYTHON ?= python3
UV ?= uv
BIN := .venv/bin
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test lint bench prove-load lock clean

# Two terminals may install at once (make run, make test): one after the other, each only what has changed since.
LOCKED = mkdir -p .venv && "$$python" -c 'import fcntl, subprocess, sys; \
	file = open(".venv/lock", "w"); fcntl.flock(file, fcntl.LOCK_EX); sys.exit(subprocess.call(sys.argv[1:]))'

# $(1): runtime or dev. The stamp holds a checksum, so that a fresh checkout of the same files installs nothing.
define install
for python in "$(PYTHON)" python3.14 python3.13 python3.12 python3.11 ""; do \
	"$${python:-false}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
done; \
if [ -z "$$python" ]; then \
	echo "This needs Python 3.11 or newer, and $(PYTHON) is not. Install one, then: make $@ PYTHON=/path/to/it"; exit 1; \
fi; \
$(LOCKED) /bin/sh -ec ' \
	want="$$(cat requirements/$(1).lock setup.cfg | cksum)"; \
	if [ "$$want" = "$$(cat .venv/.$(1) 2>/dev/null)" ] && $(BIN)/python -c ""; then exit 0; fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "Creating .venv with $$0"; \
		"$$0" -m venv .venv || { echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }; \
	fi; \
	echo "Installing requirements/$(1).lock into .venv"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements/$(1).lock; \
	if [ $(1) = runtime ]; then \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .; \
	fi; \
	echo "$$want" > .venv/.$(1)' "$$python"
endef

help:  ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run:  ## Start everything: Postgres, Valkey, web, workers, scheduler, Flower, sandbox (Ctrl-C stops it)
	@$(call install,runtime)
	@exec $(BIN)/crm up $(ARGS)

test: lint  ## Run lint and the whole suite, two files at a time; what fails is tried once more, alone
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS) || { \
		[ $$? = 1 ] || exit 1; \
		echo "These failed while two files shared the machine. Now each alone: what fails again has failed."; \
		exec $(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(ARGS); \
	}

lint:  ## Check style, types and who imports whom
	@$(call install,runtime)
	@$(call install,dev)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench:  ## Measure against peers, side by side on this machine
	@$(call install,runtime)
	@$(call install,dev)
	@exec $(BIN)/python -m benchmarks $(ARGS)

prove-load:  ## Kill things under load, then prove that nothing was lost and nothing doubled
	@$(call install,runtime)
	@$(call install,dev)
	@exec $(BIN)/python -m benchmarks.prove_load $(ARGS)

lock:  ## Pin every version again after a change of requirements/*.in (ARGS=--upgrade takes the newest)
	@for name in runtime dev; do \
		$(UV) pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
			requirements/$$name.in --output-file requirements/$$name.lock $(ARGS) || exit 1; \
	done

clean:  ## Remove what was installed and built; data in .crm stays
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.crm/*' -prune -exec rm -rf {} +
