# Everything is made under this folder (.venv, results); nothing global is touched.
PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3))
BIN := .venv/bin
CORES ?= all
# Tests start torch in each worker: two workers, one thread each, suit two cores.
WORKERS ?= 2
# A terminal shows progress; a log says what each job did, as Snakemake does by itself.
PROGRESS := $(shell test -t 2 && echo --logger rich)
# Makes the pages of `make api`; beside the lock, as nothing else needs it.
PDOC := pdoc==16.0.0 markdown2==2.5.5

.PHONY: help demo env test lint bench pretrain spark api clean distclean

help:
	@echo "make demo      environment, then the whole workflow: results/table1.csv, figures, report.html"
	@echo "make test      environment, checks and tests"
	@echo "make env       only the environment (.venv), exact pins of envs/"
	@echo "make lint      snakemake --lint, snakefmt, ruff, mypy, import contracts"
	@echo "make bench     speed table, results/bench.json"
	@echo "make pretrain  train the demo's networks anew (needs the furniture package; hours)"
	@echo "make spark     the public viewer that tests draw model.ply with, by npm into .cache/spark"
	@echo "make api       a page of each module from its docstrings, .cache/api/index.html"
	@echo "make clean     remove results;  make distclean: the environment and the caches too"

env:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 was not found; install it (Debian 12: apt-get install python3.11 python3.11-venv)." >&2; exit 2; }
	@$(PYTHON) envs/install.py

demo: env
	$(BIN)/snakemake --cores $(CORES) $(PROGRESS)
	@$(BIN)/python -m aligncvc.paper.summary

test: env lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports
	$(BIN)/snakemake --lint

bench: env
	$(BIN)/python -m aligncvc.bench --out results/bench.json

pretrain: env
	$(BIN)/snakemake pretrain --cores $(CORES)

spark:
	npm install --prefix .cache/spark --no-save --no-audit --no-fund @sparkjsdev/spark@2.2.0 three@0.187.0

# Blender's own modules are left out: they run inside Blender alone.
api: env
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .cache/pdoc $(PDOC)
	PYTHONPATH=.cache/pdoc $(BIN)/python -m pdoc aligncvc \
		$(patsubst src/aligncvc/%/__init__.py,aligncvc.%,$(wildcard src/aligncvc/*/__init__.py)) \
		'!aligncvc.render.blender_scene' '!aligncvc.render.bproc_adapter' '!aligncvc.bench.plain_scene' \
		--docformat google --output-directory .cache/api

clean:
	find results -mindepth 1 ! -name .gitkeep -delete

distclean: clean
	rm -rf .venv .snakemake .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
