# cirbench. `make` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench simd no-simd clean

# compressai has no wheels for Python 3.13 and later: prefer 3.12 or 3.11 where there is one.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo $$p && exit; done; echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.demo: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "cirbench needs Python 3.11 or later; set PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		|| { echo "no venv module here: apt install python3-venv (Debian, Ubuntu)"; rm -rf $(VENV); exit 1; }
	$(PIP) --editable '.[learned,train,eval]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --editable '.[dev,docs,learned,train,eval]'
	@touch $@

demo: $(VENV)/.demo ## Install, then build the data set of the sample photos: table and contact sheet
	$(BIN)/cirbench build

test: $(VENV)/.dev ## Run the tests
	$(BIN)/python -m pytest --numprocesses 2 tests

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.dev ## Build the documentation into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.dev ## Run the benchmarks (minutes; prints ratios measured side by side)
	$(BIN)/python benchmarks/still_codecs.py
	$(BIN)/python benchmarks/video_codecs.py
	$(BIN)/python benchmarks/resume.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/metrics.py

simd: $(VENV)/.demo ## Swap Pillow for Pillow-SIMD (they share one folder: never install both)
	$(BIN)/python -m pip uninstall --yes --quiet pillow pillow-simd
	$(BIN)/python -m pip install --quiet --no-cache-dir pillow-simd \
		|| { $(PIP) --force-reinstall --no-deps pillow; echo "pillow-simd did not compile; Pillow is back"; exit 1; }
	$(BIN)/cirbench info | grep Pillow

no-simd: $(VENV)/.demo ## Swap Pillow back in
	$(BIN)/python -m pip uninstall --yes --quiet pillow pillow-simd
	$(PIP) --force-reinstall --no-deps pillow
	$(BIN)/cirbench info | grep Pillow

clean: ## Remove the environment, caches and built packages (data sets stay)
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
