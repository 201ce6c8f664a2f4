BIN := .venv/bin
C_FILES := find nfv benchmarks -name '*.[ch]'
SHELL_FILES := .ci/run benchmarks/run $(filter-out %.py %__pycache__,$(wildcard scripts/*)) $(wildcard nfv/dataplane/resident/*.sh)

.PHONY: quickstart setup test bench bench-full check format

quickstart:
	scripts/quickstart

setup:
	scripts/setup --dev

test:
	scripts/test

bench: setup
	benchmarks/run

bench-full: setup
	benchmarks/run --full --write

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(C_FILES) | xargs -r $(BIN)/clang-format --dry-run --Werror
	shellcheck $(SHELL_FILES)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(C_FILES) | xargs -r $(BIN)/clang-format -i
