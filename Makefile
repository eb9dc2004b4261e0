# Everything below makes its own virtual environment first; it needs Python 3.11 to 3.13, a C++
# compiler, make and perl.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: install demo test test-all lint clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# Digits on a Zybo: build, verify, the whole test split through the simulated hardware, synthesis.
demo: $(INSTALLED)
	$(BIN)/python examples/digits/demo.py build/digits

lint: $(INSTALLED)
	$(BIN)/ruff check hwgen sim tests examples benchmarks
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

# The second tier: the reference network whole, many random networks, every zoo of options.
test-all: lint
	$(BIN)/python -m pytest -n 2

clean:
	rm -rf $(VENV) build
