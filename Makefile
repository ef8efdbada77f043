# The one entry point. `make help` lists the targets.

SHELL := /bin/sh
CARGO ?= cargo
PROFILE ?= quick-release
BIN := target/$(PROFILE)
TOOLS := target/tools
E2E ?= $(filter-out layers,$(basename $(notdir $(wildcard e2e/tests/*.rs))))
CARGO_DENY_VERSION := 0.20.2

# Cargo is found also where rustup put it without touching PATH.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: help prerequisites build demo playground playground-down test check fmt clippy unit doc deny generate generated \
        e2e-kafka measure fuzz

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

prerequisites:
	@scripts/prerequisites

build: prerequisites ## Build operator, proxy, demo and playground, optimised
	$(CARGO) build --locked --profile $(PROFILE) --workspace --bins

demo: build ## Move a live topic between two real Kafka clusters and back, with a verdict
	$(BIN)/demo $(DEMO_ARGS)

playground: build ## Two real clusters, operator and proxies, left running (BROKERS= KAFKA_A= KAFKA_B= PORT= AUTO_CREATE= PARTITIONS= KAFKA_SET=)
	$(BIN)/playground up

playground-down: ## Stop the playground
	$(BIN)/playground down

test: check e2e-kafka ## Everything, from a bare machine

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
	    $(CARGO) install --quiet --debug --locked --root $(TOOLS) --version $(CARGO_DENY_VERSION) --no-default-features cargo-deny
	$(TOOLS)/bin/cargo-deny --log-level error check bans licenses sources

generate: prerequisites ## Write the generated CRD YAML
	$(CARGO) run --locked --quiet -p sluice-crds --bin crdgen

# The whole workspace is built, so that features (and with them all dependencies) are those of `unit`: nothing is built twice.
e2e-kafka: export RUST_LIB_BACKTRACE = 0
e2e-kafka: prerequisites ## Behaviour on real Kafka with stock clients (E2E= names one test file)
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace --no-fail-fast $(addprefix --test ,$(E2E)) -- --ignored --test-threads 1 --nocapture

measure: build ## Twenty moves under load: pause by part, for the README
	$(BIN)/demo --moves 20 --report target/measure.json

fuzz: prerequisites ## Fuzz the walkers for a minute each (FUZZ_SECONDS=60)
	scripts/fuzz
