# Echo Phoenix. `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: help test test-full mutants bench lint generate

cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/echo-phoenix
# The cargo-deny on the PATH, else the one that .ci/run installs.
deny := $(or $(shell command -v cargo-deny),$(cache)/cargo-deny/bin/cargo-deny)
chart := charts/echo-phoenix
crds := echo-phoenix.dev.yaml

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## run all tests, against a real Kubernetes API server (the first time it takes minutes to build one)
	@tests/run.sh

# ECHO_SOAK_MINUTES=2 shortens the half hour of the soak test, which does the same then in less time.
test-full: ## run all tests at full length: 20,000 requests a proxy and level, 100 power cuts, 1,000,000 addresses, half an hour of faults, five old ones put back
	@ECHO_TEST_FULL=1 tests/run.sh

mutants: ## change the rules one place at a time, and tell which change no test notices (half an hour)
	@tests/mutants.sh

bench: ## run the benchmarks (BASE=binary: against that build too); only the cluster's halves of `kill` and `loop` need what tests need
	cargo bench --locked --bench verdict
	cargo bench --locked --bench gate_http
	cargo bench --locked --bench ledger
	cargo bench --locked --bench webhook
	cargo bench --locked --bench kill -- table
	cargo bench --locked --bench kill -- rest
	cargo bench --locked --bench loop -- serve
	@set -e; eval "$$(tests/run.sh --env)"; trap 'tests/run.sh --down' EXIT; \
	  cargo bench --locked --bench kill -- cluster; cargo bench --locked --bench loop -- cluster

lint: ## formatting, clippy and dependencies, all with warnings as errors
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings
	@test -x "$(deny)" || { echo "cargo-deny is missing: cargo install --locked cargo-deny, or run .ci/run once" >&2; exit 1; }
	$(deny) --locked check bans licenses sources

# The chart carries a copy because Helm reads crds/ only inside a chart. Both are committed; CI fails on a difference.
generate: ## write what is made from the code: custom resource definitions, docs/openapi.json, references, picture
	cargo build --release --locked
	@mkdir -p crds $(chart)/crds
	$(or $(CARGO_TARGET_DIR),target)/release/echo-phoenix crd > crds/$(crds).part
	@mv crds/$(crds).part crds/$(crds)
	cp crds/$(crds) $(chart)/crds/$(crds)
	$(or $(CARGO_TARGET_DIR),target)/release/echo-phoenix openapi > docs/openapi.json.part
	@mv docs/openapi.json.part docs/openapi.json
	@for what in metrics configuration errors; do \
	  $(or $(CARGO_TARGET_DIR),target)/release/echo-phoenix reference $$what > docs/$$what.md.part && mv docs/$$what.md.part docs/$$what.md || exit 1; \
	done
	python3 docs/picture.py > docs/echo-phoenix.svg.part
	@mv docs/echo-phoenix.svg.part docs/echo-phoenix.svg
