# One command each. Everything happens in .venv, which is made when it is missing.
PYTHON ?= python3
# An index that offers a CPU build of torch 2.13.0, where the default one has only CUDA builds (several GB).
TORCH_INDEX ?=
VENV := .venv
PY := $(VENV)/bin/python
SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')
NATIVE := $(SOURCES) CMakeLists.txt setup.py pyproject.toml
CPP := $(SOURCES) $(shell find tests -name '*.cpp' -o -name '*.h' -o -name '*.cu')
CMAKE := PATH=$(CURDIR)/$(VENV)/bin:$$PATH cmake
CTEST := PATH=$(CURDIR)/$(VENV)/bin:$$PATH ctest --output-on-failure -j 4
# Where setup.py builds the extension.
BUILD = build/$(shell $(PY) -c 'import sysconfig; print(sysconfig.get_platform())')

# A file's tests stay together, for what they share; files in order, for the longest are not the last.
ALL_CORES := -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: help build demo test native-test test-cuda cuda-report cuda-mutants nvcc sanitize symbols bench bench-search lint format clean speech
help:
	@echo "make demo      decode real words with a real model; tables and pictures"
	@echo "make test      the whole test suite"
	@echo "make test-cuda the CUDA half of it: kernels run on the CPU, and on a GPU if there is one"
	@echo "make bench     benchmarks against the rivals, results in benchmarks/results, docs/benchmarks.md"
	@echo "make bench-search  searches against transformers and CTranslate2, beam sizes, pruning rules"
	@echo "make lint      ruff, mypy, clang-format, generated docs up to date"
	@echo "make sanitize  native tests under the address and undefined-behaviour sanitizers"
	@echo "make cuda-report   registers, loads in flight, occupancy of every CUDA kernel; make cuda-mutants"
	@echo "make nvcc      a CUDA compiler from PyPI, where the machine has none; then make build"
	@echo "make speech    recorded speech with transcripts for the tests, where apt-get knows the package"
	@echo "make build     only build the extension; make format; make clean"

demo: $(VENV)/.demo $(VENV)/.built
	$(VENV)/bin/s2sfast demo

test: $(VENV)/.test $(VENV)/.demo $(VENV)/.built native-test symbols
	@$(MAKE) speech || echo "== without it: the tests of recorded speech are skipped, or fail with S2SFAST_REAL=1"
	$(PY) -m pytest $(ALL_CORES)
	$(PY) -m tests.cuda.suite

test-cuda: $(VENV)/.test $(VENV)/.built
	$(PY) -m tests.cuda.suite --all

cuda-report: $(VENV)/.test $(VENV)/.built
	$(PY) -m tests.sass

cuda-mutants: $(VENV)/.test $(VENV)/.built
	$(PY) -m tests.cuda.mutants

native-test: $(VENV)/.built
	$(CMAKE) -DS2SFAST_TESTS=ON $(BUILD)
	$(CMAKE) --build $(BUILD) --target native_tests
	$(CTEST) --test-dir $(BUILD)

sanitize: $(VENV)/.base
	$(CMAKE) -S . -B build/sanitize -G Ninja -DS2SFAST_PYTHON=OFF -DS2SFAST_TESTS=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo -DS2SFAST_SANITIZE=address,undefined
	$(CMAKE) --build build/sanitize --target native_tests
	$(CTEST) --test-dir build/sanitize

symbols: native-test
	$(PY) tests/check_symbols.py $(BUILD)

bench: $(VENV)/.bench $(VENV)/.test $(VENV)/.built
	$(PY) -m pytest benchmarks -q --benchmark-json benchmarks/results/ops.json
	$(PY) -m pytest benchmarks -q --kind attention --benchmark-json benchmarks/results/attention.json
	$(PY) -m pytest benchmarks -q --kind ntm --benchmark-json benchmarks/results/ntm.json
	$(PY) -m benchmarks.bandwidth
	$(PY) -m benchmarks.empty_op
	$(PY) -m benchmarks.report

bench-search: $(VENV)/.bench $(VENV)/.demo $(VENV)/.built
	$(PY) -m benchmarks.search_overhead
	$(PY) -m benchmarks.search_quality
	$(PY) -m benchmarks.search_rivals
	$(PY) -m benchmarks.report

lint: $(VENV)/.lint $(VENV)/.base
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/clang-format --dry-run -Werror $(CPP)
	$(PY) -m benchmarks.report --check

format: $(VENV)/.lint
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i $(CPP)

build: $(VENV)/.built

speech: $(VENV)/share/speech

nvcc: $(VENV)/.nvcc
	rm -f $(VENV)/.built
	$(MAKE) build

# --- what the above stand on -----------------------------------------------------------------------

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys, sysconfig, os; \
	  sys.version_info >= (3, 10) or sys.exit('s2sfast needs Python 3.10 or newer; PYTHON=... chooses another'); \
	  os.path.exists(sysconfig.get_path('include') + '/Python.h') or sys.exit('Python.h is missing: install the headers of this Python (on Debian and Ubuntu: apt-get install python3-dev)')"
	@echo "== making $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(VENV)/bin/python
	@echo "== installing torch and the build tools"
	$(PY) -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch==2.13.0 numpy "setuptools>=77" wheel "cmake>=3.25" ninja "pybind11>=3"
	@touch $@

$(VENV)/.built: $(VENV)/.base $(NATIVE)
	@echo "== building the extension"
	PATH=$(CURDIR)/$(VENV)/bin:$$PATH $(PY) -m pip install --no-build-isolation --no-deps -e . -v
	@touch s2sfast/_*.so $@

$(VENV)/.demo $(VENV)/.test $(VENV)/.bench $(VENV)/.lint $(VENV)/.nvcc: pyproject.toml | $(VENV)/.built
	@echo "== installing what $(patsubst .%,%,$(notdir $@)) needs"
	PATH=$(CURDIR)/$(VENV)/bin:$$PATH $(PY) -m pip install --no-build-isolation -e ".[$(patsubst .%,%,$(notdir $@))]"
	@touch s2sfast/_*.so $@

# Recordings with transcripts (BSD licence): a Debian package, taken apart without installing it.
SPEECH := pocketsphinx-testdata
$(VENV)/share/speech: | $(VENV)/bin/python
	@echo "== downloading $(SPEECH)"
	@command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null || { echo "apt-get and dpkg-deb are missing: unpack the Debian package $(SPEECH) and link its usr/share/pocketsphinx/test/data to $@"; exit 1; }
	rm -rf $(VENV)/share/speech.part
	mkdir -p $(VENV)/share/speech.part
	cd $(VENV)/share/speech.part && { apt-get download $(SPEECH) || { apt-get update && apt-get download $(SPEECH); }; }
	dpkg-deb -x $(VENV)/share/speech.part/*.deb $(VENV)/share/speech.part
	mv $(VENV)/share/speech.part/usr/share/pocketsphinx/test/data $@
	rm -rf $(VENV)/share/speech.part

clean:
	rm -rf build dist *.egg-info s2sfast/_*.so $(VENV)/.built demo.png beam.svg
