# The one entry point. `make help` lists the targets.

SHELL := /bin/sh
CARGO ?= cargo
PROFILE ?= quick-release
BIN := target/$(PROFILE)
TOOLS := target/tools
# E2E= names one test file. Those that need Kubernetes are called kubernetes_*.
E2E_TESTS := $(filter-out layers,$(basename $(notdir $(wildcard e2e/tests/*.rs))))
KAFKA_TESTS = $(or $(E2E),$(filter-out kubernetes_%,$(E2E_TESTS)))
KUBERNETES_TESTS = $(or $(E2E),$(filter kubernetes_%,$(E2E_TESTS)))
CARGO_DENY_VERSION := 0.20.2

# Cargo is found also where rustup put it without touching PATH.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: help prerequisites build demo demo-kubernetes playground playground-down kubernetes cluster-up cluster-down \
        test check fmt clippy unit doc deny generate generated e2e-kafka e2e-kubernetes measure fuzz

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

prerequisites:
	@scripts/prerequisites

build: prerequisites ## Build operator, proxy, demo and playground, optimised
	$(CARGO) build --locked --profile $(PROFILE) --workspace --bins

demo: build ## Move a live topic between two real Kafka clusters and back, with a verdict
	$(BIN)/demo $(DEMO_ARGS)

demo-kubernetes: $(if $(KUBECONFIG),,kubernetes) build ## The same by `kubectl apply`, on a control plane of its own or the cluster of $KUBECONFIG
	$(BIN)/demo --kubernetes $(DEMO_ARGS)

playground: build ## Two real clusters, operator and proxies, left running (BROKERS= KAFKA_A= KAFKA_B= PORT= AUTO_CREATE= PARTITIONS= KAFKA_SET=)
	$(BIN)/playground up

playground-down: ## Stop the playground
	$(BIN)/playground down

# etcd, API server, controllers and kubectl in one binary. Built again only if its module changes; Go's own cache then
# makes it seconds.
KUBERNETES := target/kubernetes/bin/kubernetes

kubernetes: $(KUBERNETES) ## Build the Kubernetes control plane of the test bed (ten minutes the first time)

$(KUBERNETES): $(addprefix e2e/kubernetes/,go.mod go.sum main.go build)
	scripts/prerequisites kubernetes
	nice -n 15 e2e/kubernetes/build $(@D)

cluster-up: prerequisites kubernetes ## A Kubernetes control plane without nodes, left running (CLUSTER_HOST= CLUSTER_PORT=)
	$(CARGO) build --locked --profile $(PROFILE) --workspace --bin cluster
	$(BIN)/cluster up

cluster-down: ## Stop it
	$(BIN)/cluster down

# The control plane is built beside the tests on Kafka, which wait a lot.
test: check ## Everything, from a bare machine
	$(MAKE) --jobs 2 e2e-kafka kubernetes
	$(MAKE) e2e-kubernetes

check: prerequisites fmt clippy unit doc deny ## The fast gate: format, lints, unit and property tests, docs, policy

fmt:
	$(CARGO) fmt --all --check

clippy: prerequisites
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

unit: prerequisites
	$(CARGO) test --locked --workspace

doc: prerequisites
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

deny: prerequisites ## Licences, bans and sources of all dependencies
	@test -x $(TOOLS)/bin/cargo-deny || \
	    CARGO_PROFILE_DEV_DEBUG=false $(CARGO) install --quiet --debug --locked --root $(TOOLS) --version $(CARGO_DENY_VERSION) --no-default-features cargo-deny
	$(TOOLS)/bin/cargo-deny --log-level error check bans licenses sources

generate: prerequisites ## Write the generated CRD YAML
	$(CARGO) run --locked --quiet -p sluice-crds --bin crdgen

# The whole workspace is built, with tests, so that features (and with them all dependencies) are those of `unit`: nothing is
# built twice.
e2e-kafka: export RUST_LIB_BACKTRACE = 0
e2e-kafka: prerequisites ## Behaviour on real Kafka with stock clients (E2E= names one test file)
	$(CARGO) build --locked --workspace --bins --tests
	$(CARGO) test --locked --workspace --no-fail-fast $(addprefix --test ,$(KAFKA_TESTS)) -- --ignored --test-threads 1 --nocapture

e2e-kubernetes: export RUST_LIB_BACKTRACE = 0
e2e-kubernetes: prerequisites kubernetes ## The same through a real Kubernetes API server (E2E= names one test file)
	$(CARGO) build --locked --workspace --bins --tests
	$(CARGO) test --locked --workspace --no-fail-fast $(addprefix --test ,$(KUBERNETES_TESTS)) -- --ignored --test-threads 1 --nocapture

measure: build ## Twenty moves under load: pause by part, for the README
	$(BIN)/demo --moves 20 --report target/measure.json

fuzz: prerequisites ## Fuzz the walkers for a minute each (FUZZ_SECONDS=60)
	scripts/fuzz
