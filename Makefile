# One environment serves every target: .venv, made by `make install`.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: all install demo lint fix test docs bench eval-smoke train-embedded clean
all: lint test

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: install
	sh docs/demo.sh $(BIN)/mplus

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: lint
	$(BIN)/python -m pytest

docs: install
	$(BIN)/python -m mplus_cli.commands.reference docs/commands.md

bench: install
	$(BIN)/mplus bench write
	$(BIN)/mplus bench generate

# every method of the evaluation suite by every task at tiny size: minutes, no network
eval-smoke: install
	$(BIN)/python -m tests.evaluation.smoke

# make train-embedded DATA=folder-with-text-and-qa OUT=runs: repeats the model in the box (some seven hours on two cores, by estimate)
DATA ?= data
OUT ?= runs
train-embedded: install
	$(BIN)/mplus train all --plan embedded --text $(DATA)/text --questions $(DATA)/qa/train \
	  --work $(OUT)/work --out $(OUT) --threads 1 --resume

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
