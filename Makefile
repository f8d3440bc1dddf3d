# make install | test | soak | sanitize | demo | lint | bench | bench-guard | docs | docs-serve | exactness | dist. Each installs first where needed, into .venv; quiet when all is well.

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(if $(shell $(p) -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(p))))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOG := $(VENV)/install.log
BUILT_FROM := pyproject.toml CMakeLists.txt $(wildcard kernels/*) $(wildcard augengine/ops/*.py)

# torch's threads spin while they wait; on a busy machine a shorter spin leaves the cores to those that work.
export GOMP_SPINCOUNT ?= 2000

# An editable install knows the modules that were there when it was made, so another list of them undoes it.
MODULES := $(shell find augengine -name '*.py' | LC_ALL=C sort | cksum)
$(shell test "$$(cat $(VENV)/.modules 2>/dev/null)" = "$(MODULES)" || rm -f $(STAMP))

.PHONY: install test soak sanitize demo lint bench bench-guard docs docs-serve exactness dist clean

install: $(STAMP)

$(STAMP): $(BUILT_FROM)
	@test -n "$(PYTHON)" || { echo "augengine needs Python 3.11 or later; found none. Say which: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Installing augengine and its development tools into $(VENV): minutes the first time, seconds after that ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python -m venv failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]' >$(LOG) 2>&1 \
	  || { tail -n 40 $(LOG); echo "The installation failed; the whole log is in $(LOG). Where the compiler is missing: apt install g++ python3-dev"; exit 1; }
	@echo "$(MODULES)" >$(VENV)/.modules
	@touch $@

test: install
	@$(BIN)/python -m pytest -n 2 --dist loadfile

soak: install
	@PYTHONPATH=tests $(BIN)/python -m soak $(SOAKS)

# Debug builds keep their symbols, which reports name.
build/sanitize-%/.built: $(BUILT_FROM) | $(STAMP)
	@echo "Building the extension with the $* sanitizer into $(@D): minutes ..."
	@$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w $(@D) \
	  -C build-dir=$(@D) -C cmake.build-type=Debug -C cmake.define.SANITIZE=$* .
	@touch $@

sanitize: install build/sanitize-address/.built build/sanitize-thread/.built
	@$(BIN)/python tests/sanitize.py

demo: install
	@$(BIN)/python -m examples.demo

lint: install
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet . && $(BIN)/mypy --no-error-summary augengine

# Slower than the README's machine is no failure; a figure of the pages that no results file has is one.
bench: install
	@mkdir -p build && $(BIN)/augengine bench --json build/bench.json
	@echo && $(BIN)/python -m benchmarks.figures --beside build/bench.json

bench-guard: install
	@$(BIN)/python -m benchmarks.guard

docs: install
	@$(BIN)/python -m docs.generate
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict >$(VENV)/site.log 2>&1 || { cat $(VENV)/site.log; exit 1; }

docs-serve: install
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

exactness: install
	@$(BIN)/python tests/exactness.py

# A source distribution, and from it a wheel for this machine's kind: of Python 3.12 for all that follow, too.
dist: install
	@rm -rf dist && $(BIN)/python -m build >$(VENV)/build.log 2>&1 || { tail -n 40 $(VENV)/build.log; exit 1; }
	@ls dist/*

clean:
	rm -rf $(VENV) build dist demo-out site
