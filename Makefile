# make demo    the whole job on examples/chest.png, from nothing to files in demo/
# make test    the test suite        make lint   ruff and mypy        make clean   forget the virtual environment
#
# PYTHON=python3.12   another interpreter (3.10 or newer)
# TORCH_INDEX=        take torch as PyPI has it (on Linux the CUDA build, several GB) instead of the CPU build

PYTHON ?= python3
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
VENV := .venv
BIN := $(VENV)/bin

# The index is used if it answers, so that a machine that reaches only its own package mirror installs too.
torch_args = $(shell $(PYTHON) -c "import urllib.request as u; u.urlopen('$(TORCH_INDEX)/torch/', timeout=5); \
  print('--extra-index-url $(TORCH_INDEX)')" 2>/dev/null)
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(torch_args)

.PHONY: demo test lint venv dev clean

demo: venv
	$(BIN)/gaussmith image examples/chest.png -o demo
	@echo "Open demo/chest.glb in Blender or any glTF viewer; demo/preview.png shows it at a glance."

test: dev
	$(BIN)/python -m pytest

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

venv: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10))" \
	  || { echo "gaussmith needs Python 3.10 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(install) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(install) -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
