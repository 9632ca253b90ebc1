# What one types. `make help` lists it.
CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help run test fuzz soak bench

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Install what is missing, build, start the server and place a demonstration call
	@scripts/install.sh
	@echo "building (a few minutes the first time)"
	@$(CARGO) build --release --locked --package trunkline
	@exec $${CARGO_TARGET_DIR:-target}/release/trunkline demo

test: ## Everything: format, lints, licences, documentation, unit tests, calls with real SIP clients
	@scripts/install-test-tools.sh
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) deny --locked check bans licenses sources
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet
	scripts/check-tree.sh
	scripts/test.sh

fuzz: ## Feed hostile input to all that parses, for FUZZ_SECONDS (600) each
	scripts/fuzz.sh $${FUZZ_SECONDS:-600}

soak: ## Half an hour of calls at a steady rate, 50 crashes on each database, long fuzzing
	SOAK_SECONDS=$${SOAK_SECONDS:-1800} $(CARGO) test --release --locked --package trunkline --test e2e soak:: -- --ignored --nocapture
	TRUNKLINE_TEST_CRASH_ROUNDS=50 $(CARGO) test --release --locked --package trunkline --test e2e crash:: -- --nocapture
	scripts/fuzz.sh $${FUZZ_SECONDS:-600}

bench: ## Measure the hot paths: reading a message, a call's 20 ms
	$(CARGO) bench --locked --package sip --bench parse
	$(CARGO) bench --locked --package media --bench tick
