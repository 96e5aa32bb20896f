# The commands of this project. `make` lists them; each installs what it needs into .venv, from locks with hashes.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
# Images that set it would have every process of a test compile all that it imports anew, which takes two seconds each.
unexport PYTHONDONTWRITEBYTECODE

# The Lambda runtime, said once: the default of the template's parameter PythonRuntime.
RUNTIME := $(shell awk '/^  PythonRuntime:/ { found = 1 } found && /Default:/ { print $$2; exit }' template.yaml)
# `make PYTHON=python3.11 check` works with another interpreter than the runtime's.
PYTHON ?=
STAGE ?= dev
FUNCTION ?=
ARGS ?=

LOCKS := requirements/uv requirements/dev requirements/sam local/requirements bench/requirements bench/litellm \
	layers/dependencies/requirements functions/ingest_cost_report/requirements functions/read_data_file/requirements
# A new package is seen by the editable install only when it is made again.
PACKAGES := $(wildcard layers/*/*/__init__.py cli/*/__init__.py)
PRODUCT := layers functions cli truth local tests bench
SAM := env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL SAM_CLI_TELEMETRY=0 .venv/sam/bin/sam

.PHONY: help demo test check build install deploy bench bench-allocate bench-ingest bench-events bench-budgets backtest invoke stop lock clean
.PHONY: style lint types imports template lambda-build local-build FORCE

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: .venv/.dev .venv/.local-aws local-build ## run the whole system on this machine, on the synthetic organisation (ARGS="...")
	@.venv/bin/python -m local.demo $(ARGS)

test: .venv/.dev .venv/.local-aws local-build ## run all tests
	@# In the order of the folders: the long files of tests/crash and tests/e2e are few tests, and would else come last, alone.
	@.venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

check: style lint types imports template lambda-build test ## everything that must hold before a change is merged

build: .venv/.sam ## build the Lambda artifact into .aws-sam/build
	@case "$$(cut -f 2 .venv/.interpreter)" in $(RUNTIME:python%=%).*) ;; *) \
		echo 'error: the layers carry bytecode for $(RUNTIME) alone: install it to build for Lambda' >&2; exit 1;; esac
	@tools/build .aws-sam/build arm64

install: .venv/.dev ## install the command bedrock-costs into .venv

deploy: build install ## deploy to AWS (STAGE=dev or STAGE=prod)
	@$(SAM) deploy --config-env '$(STAGE)'

bench: .venv/.dev local-build ## measure cold starts and answers to Slack (ARGS=cold_start for one)
	@.venv/bin/python -m bench $(ARGS)

bench-ingest: .venv/.dev .venv/.bench ## measure the ingest beside pandas and awswrangler (ARGS="--rows 1000000" for a quick look)
	@.venv/bin/python -m bench.ingest $(ARGS)

bench-budgets: .venv/.dev ## measure how evaluating budgets grows with budgets and values (ARGS="--budgets 500 --values 10000" for one case)
	@.venv/bin/python -m bench.budgets $(ARGS)

backtest: .venv/.dev .venv/.bench ## hold the forecast against simple methods, the detector against planted anomalies (ARGS=--no-public for the synthetic company alone)
	@.venv/bin/python -m bench.backtest $(ARGS)

bench-allocate: .venv/.dev ## measure the allocation of days beside the same join in SQL (ARGS="--charges 10000 100000")
	@.venv/bin/python -m bench.allocate $(ARGS)

bench-events: .venv/.dev .venv/.litellm ## measure recording and counting requests, and what it costs (ARGS="--records 5000" for a quick look)
	@.venv/bin/python -m bench.events $(ARGS)

invoke: .venv/.dev .venv/.local-aws local-build ## run one built function on its sample event (FUNCTION=record_invocations)
	@.venv/bin/python -m local.invoke '$(FUNCTION)' --build .build/local $(ARGS)

stop: .venv/.dev ## stop the local AWS that `make demo ARGS=--keep` left running
	@.venv/bin/python -m local stop

lock: .venv/.interpreter ## write every lock anew from its requirements.in
	@for lock in $(LOCKS); do \
		echo "locking $$lock.txt"; \
		.venv/bin/uv pip compile --quiet --no-config --upgrade --universal --python-version 3.11 --generate-hashes \
			--no-header --no-annotate --no-emit-index-url --no-emit-find-links $$lock.in -o $$lock.txt; \
	done

clean: ## remove what these commands made, .venv included
	@if [ -f .local/aws.json ]; then .venv/bin/python -m local stop; fi
	rm -rf .venv .build .aws-sam .local .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info

style: .venv/.dev
	@echo 'check: ruff format' >&2
	@.venv/bin/ruff format --check --quiet .

lint: .venv/.dev
	@echo 'check: ruff' >&2
	@.venv/bin/ruff check --quiet .

types: .venv/.dev
	@echo 'check: mypy --strict' >&2
	@.venv/bin/mypy $(PRODUCT)

imports: .venv/.dev
	@echo 'check: lint-imports' >&2
	@PYTHONPATH=.:layers/attribution:layers/adapters:cli .venv/bin/lint-imports --no-logo

template: .venv/.sam
	@echo 'check: sam validate --lint' >&2
	@$(SAM) validate --lint --region us-east-1

# For Lambda's architecture, like `build`, but with whatever interpreter is being checked.
lambda-build: .venv/.sam
	@tools/build .build/lambda/build arm64

local-build: .venv/.sam
	@tools/build .build/local host

FORCE:

.venv/.interpreter: requirements/uv.txt FORCE
	@tools/interpreter $(RUNTIME) '$(PYTHON)'

.venv/.dev: .venv/.interpreter requirements/dev.txt pyproject.toml $(PACKAGES)
	@tools/environment .venv requirements/dev.txt
	@.venv/bin/uv pip install --quiet --no-config --offline --python .venv/bin/python \
		--no-deps --no-build-isolation --editable .
	@touch $@

.venv/.sam: .venv/.interpreter requirements/sam.txt
	@tools/environment .venv/sam requirements/sam.txt
	@touch $@

.venv/.local-aws: .venv/.interpreter local/requirements.txt
	@tools/environment .venv/local-aws local/requirements.txt
	@touch $@

.venv/.bench: .venv/.interpreter bench/requirements.txt
	@tools/environment .venv/bench bench/requirements.txt
	@touch $@

.venv/.litellm: .venv/.interpreter bench/litellm.txt
	@tools/environment .venv/litellm bench/litellm.txt
	@touch $@
