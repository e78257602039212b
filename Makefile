# Every target sets up what it needs. Python 3.11 or newer and make are the only prerequisites.
PYTHON ?= python3
UV = .tools/uv/bin/uv
BIN = .venv/bin
LANE ?= not (slow or chaos or images or cluster)
CLUSTER_LANE ?= cluster
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo podman-compose)
GENERATED = protos/trivium/v1
export HF_HUB_OFFLINE = 1
# Idle OpenMP threads sleep: spinning, they would slow down the processes that the tests start.
export OMP_WAIT_POLICY = PASSIVE
export PATH := $(CURDIR)/.tools/bin:$(PATH)

.PHONY: demo test cluster-test bench check format protos requirements tools compose

demo: .venv/ready ## Ask the project's own documentation three questions
	$(BIN)/python -m cli demo

test: check tools ## What must hold, with real processes. LANE="slow or chaos": what takes long. LANE=images: every image
	$(BIN)/pytest -m "$(LANE)"

cluster-test: tools ## The images and the chart on a real Kubernetes; needs root and Debian's packages
	$(BIN)/pytest -m "$(CLUSTER_LANE)" tests/cluster

bench: .venv/ready ## How near each process runs to this machine's limit: a rig and a JSON line each, in minutes
	$(BIN)/python -m benchmarks $(ARGUMENTS)

check: .venv/ready ## Format, lint, types, contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/trivium.v1.binpb

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: .venv/ready ## Stubs and the contract's baseline, after a change that breaks nobody
	$(BIN)/buf lint
	test ! -f protos/trivium.v1.binpb || $(BIN)/buf breaking --against protos/trivium.v1.binpb
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -I protos --python_out=protos \
		--pyi_out=protos --grpc_python_out=protos --mypy_grpc_out=protos $(GENERATED)/*.proto
	$(BIN)/buf build -o protos/trivium.v1.binpb

requirements: .tools/uv/ready ## Pin again, with hashes and without an index
	for process in model gateway retriever retriever-gpu reranker generator generator-ctranslate2 cli documents dev; do \
		$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
			--no-emit-index-url --extra $$process pyproject.toml -o requirements/$$process.txt || exit 1; \
	done
	for tool in uv go sbom; do \
		$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
			--no-emit-index-url requirements/$$tool.in -o requirements/$$tool.txt || exit 1; \
	done

tools: .venv/ready ## grpcurl, ghz and Helm, with the machine's Go or PyPI's
	tools/build

compose: tools ## The five processes in containers on this machine, where Docker or podman is
	ENGINE=$(if $(findstring podman,$(COMPOSE)),podman,docker) tools/images gateway retriever reranker generator cli
	$(COMPOSE) -f compose.yaml $(if $(shell command -v nvidia-smi),-f compose.gpu.yaml) up --detach --wait --no-build

.tools/uv/ready: requirements/uv.txt
	$(PYTHON) -m venv .tools/uv
	.tools/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	touch $@

.venv/ready: .tools/uv/ready requirements/dev.txt
	$(UV) venv --quiet --allow-existing --no-python-downloads --python $(PYTHON) .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	$(BIN)/python -c 'import sysconfig, pathlib; \
		pathlib.Path(sysconfig.get_path("purelib"), "trivium.pth").write_text("$(CURDIR)\n$(CURDIR)/protos\n")'
	touch $@
