# Everything a person runs by hand. CI runs .ci/run, which runs `make test`.

CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

.PHONY: help build static demo test check sanity bench

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

build: ## Build the release binary, target/release/stead
	cargo build --release --locked -p stead

static: ## Build the same without any library of the host (needs musl-tools and the musl target)
	cargo build --release --locked -p stead --target x86_64-unknown-linux-musl

demo: ## Show a member move with its data, name and address (root; installs what it needs on Debian)
	tests/install demo
	cargo build --release --locked -p stead
	"$(CARGO_TARGET_DIR)/release/stead" demo

test: ## Run everything that decides whether a change is good
	tests/run

check: ## Run what needs no root and takes a minute: format, lints, layers, licences
	tests/run format clippy layering deny

sanity: ## Run the official CSI suite against every layout of the driver
	tests/run build sanity

bench: ## Measure, and compare with what the machine itself needs
	cargo build --release --locked -p stead -p stead-bench
	"$(CARGO_TARGET_DIR)/release/volumes"
