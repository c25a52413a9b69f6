# make demo | make test | make check-all | make docs | make release | make check-machines | make mutants | make coverage | make bench | make bench-peers | make chaos
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
USED   := $(VENV)/.installed
STAMP  := $(VENV)/.installed-tools

.PHONY: demo test static dynamic system browser compiler lint types compiled unit check-all docs release check-machines mutants coverage bench bench-peers chaos clean

$(USED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	-$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --upgrade pip  # Debian 12's takes twice as long
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -e '.[import]'  # Python compiles what is used
	$(BIN)/python tools/link_tree.py >/dev/null
	touch $@

# Without ptylive itself: it stays as installed, while numba compiles its code in the meantime.
$(STAMP): $(USED)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile 'ptylive[dev]'
	touch $@

demo: $(USED)
	$(BIN)/ptylive demo

# All at once that waits for nothing else: packages of the system and of Python are fetched side by side.
test:
	$(MAKE) --no-print-directory --jobs 4 static compiled unit

static: lint types

system: browser compiler

# Debian's Chromium for the dashboard tests; they skip with a reason where it cannot be installed.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	       && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } \
	  || echo "no Chromium and no way to install it: browser tests will be skipped"

# A C++ compiler runs the CUDA kernel on the CPU for its tests, and compiles the C++ sender; they skip with a reason without it.
compiler: browser  # one after the other: packages are installed under a lock
	@command -v g++ >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	       && apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ libc6-dev >/dev/null; } \
	  || echo "no C++ compiler and no way to install it: tests of the CUDA kernel and of the C++ sender will be skipped"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/lint_layers.py

types: $(STAMP)
	nice -n 5 $(BIN)/python tools/typecheck.py  # ready before the tests, and mostly while they wait

# What numba compiles takes a minute on a new machine, and longer where every worker and every server does it.
compiled: $(USED)
	$(BIN)/python tools/compile_all.py

# Four tests at a time, also on two cores: many of them wait for a server, a browser or a clock. Tests are collected
# while numba compiles, and begin when it is ready.
JOBS ?= 4
# Compiled Python is kept whatever the environment says: else every server that tests start compiles it anew.
unit check-all compiled: export PYTHONDONTWRITEBYTECODE =
unit: $(STAMP) system
	$(BIN)/python -m pytest -q --workers $(JOBS)

check-all: $(STAMP) system lint types docs
	$(BIN)/python -m pytest -q -m ''
	$(BIN)/python tools/mutants.py

# The documentation site, in build/site; a warning is an error. Nothing is fetched but the packages that build it.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -c docs -b html . build/site
	$(BIN)/python -m pytest -q -m slow tests/docs/test_site.py
	@echo "build/site/index.html"

# Everything that a program can check before a release, and what is published, in dist/ (CONTRIBUTING.md): make release VERSION=0.2.0
release: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[release,docs]'
	$(BIN)/python tools/release.py $(VERSION)

# Whether the tests notice bugs planted on purpose (docs/testing.md); some of them: make mutants ONLY=lbfgs,journal
comma := ,
mutants: $(STAMP)
	$(BIN)/python tools/mutants.py $(foreach name,$(subst $(comma), ,$(ONLY)),--only $(name))

# Which branches of solvers, backend and streamer their own tests take (docs/testing.md); what is missing is listed.
coverage: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[coverage]'
	rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest -q -m 'not peers' --workers $(JOBS) tests/engine/refine/solvers tests/engine/backend tests/streamer
	$(BIN)/python -m coverage combine --quiet
	rm -f build/coverage/data.*  # of file workers, which may write no file
	for part in engine/refine/solvers engine/backend streamer; do \
	  $(BIN)/python -m coverage report --include="$$part/*" --fail-under=95 || exit 1; done

# The suite as other machines would run it (docs/testing.md); one setting: make check-machines ONLY=busy
check-machines: $(STAMP) system
	$(BIN)/python tools/check_machines.py $(foreach name,$(ONLY),--only $(name)) $(foreach path,$(TESTS),--tests $(path))

bench: $(STAMP)
	$(BIN)/ptylive bench live --json
	$(BIN)/ptylive bench stream --json
	$(BIN)/ptylive bench refine --json

# Beside PtyRAD, py4DSTEM and LiberTEM-live, with the machine's bounds (docs/performance.md); interpreters that have them: $PTYLIVE_PTYRAD_PYTHON …
bench-peers: $(STAMP)
	$(BIN)/python -m benchmarks.beside_peers $(if $(RUNS),--runs $(RUNS)) $(if $(ONLY),--only $(ONLY))

# Faults of every kind at a real server (docs/testing.md): make chaos | MINUTES=60 | SEED=7 repeats a run | ONLY=kill,disk_full
chaos: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

clean:
	rm -rf $(VENV) build *.egg-info
