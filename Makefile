# What people run. The work is in scripts/ and in cargo; nothing here needs more than Rust to begin with.

.PHONY: demo test soak chaos check bench clean-test

# Builds and shows it: simulator, gateway and sample traffic. Ctrl-C ends it.
demo:
	cargo run --locked -- demo

# Installs what the tests need and is missing, then runs all of them.
test:
	scripts/test

# What takes too long for every day: the largest batch that there can be, through a gateway with little memory; and SDKs
# that are held for longer than they bear silence.
soak:
	scripts/soak

# The chaos tests again and again, each time with another seed: `make chaos RUNS=3 SEED=17`.
chaos:
	scripts/chaos $(RUNS) $(SEED)

# Format, lints, dependencies: what is checked without running anything.
check:
	scripts/check

# How fast Offpeak is beside nginx and the bare database: `make bench`, `make bench ARGS="--only live --json FILE"`.
bench:
	cargo bench --locked --bench compare -- $(ARGS)

# Takes away what `make test` put into the working tree.
clean-test:
	rm -rf tests/sdk/.venv tests/sdk/node_modules tests/sdk/.pytest_cache
