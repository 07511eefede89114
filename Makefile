# make demo: the whole path on text found on this machine.   make test: everything.   make check: the fast part.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test check lint types docs bench clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[train,hf,dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/cuvee demo demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/.installed lint types
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

docs: $(VENV)/.installed
	$(BIN)/python -m cuvee.cli.reference docs/reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.installed
	$(BIN)/cuvee bench worlds

clean:
	rm -rf $(VENV) demo site
