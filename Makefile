# `make demo` and `make test` are the two commands of the README; the rest is what they are made of.

# The agent, static, as it goes into a stemcell.
MUSL  := x86_64-unknown-linux-musl

.PHONY: demo demo-down test browser fuzz bench check unit debug deps tools

demo:
	@tests/install-deps
	@echo "==> building (release)"
	cargo build --release -p bosh-director -p bosh-local-cpi -p bosh-monitor -p bosh-stemcell-builder -p bosh-tests
	cargo build --profile lean --target $(MUSL) -p bosh-agent
	BOSH_TEST_BIN=$(CURDIR)/target/release BOSH_TEST_AGENT=$(CURDIR)/target/$(MUSL)/lean/bosh-agent \
	    target/release/demo up $(DEMO)

demo-down:
	@target/release/demo down

# What CI runs: everything that can tell a broken tree.
test: deps tools check unit

# fmt, lints, docs, dependencies.
check: tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --locked
	cargo deny --offline check bans licenses sources
	cargo machete

# Every crate's tests and the scenarios, against real nats-server, ruby and runc.
unit: debug
	cargo test --quiet --workspace --doc --locked
	BOSH_TEST_BIN=$(CURDIR)/target/debug BOSH_TEST_AGENT=$(CURDIR)/target/$(MUSL)/debug/bosh-agent \
	    cargo nextest run --workspace --locked --no-fail-fast

# The monitor's status page in Chromium, which is too large to be asked of every CI run.
browser: debug
	@tests/install-deps --browser
	BOSH_TEST_BIN=$(CURDIR)/target/debug cargo nextest run -p bosh-tests --test monitor --locked --run-ignored only

# The agent's fuzz targets, seconds each; what they found once is in their corpus, which the tests run always.
fuzz:
	agent/fuzz/run.sh 20

debug: deps
	cargo build --workspace --locked
	cargo build --locked --target $(MUSL) -p bosh-agent

bench: deps
	cargo build --release --workspace
	cargo build --profile lean --target $(MUSL) -p bosh-agent
	BOSH_TEST_BIN=$(CURDIR)/target/release BOSH_TEST_AGENT=$(CURDIR)/target/$(MUSL)/lean/bosh-agent \
	    target/release/bench $(ONLY)

deps:
	@tests/install-deps --test

tools:
	@tests/install-deps --tools
