# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := "torch==2.9.*" "torchvision==0.24.*" setuptools
READY := $(VENV)/.ready

.PHONY: demo test test-oldest lint fix lock clean

demo: $(READY)  ## install, then the main job on the embedded data (about 3 minutes on 2 cores)
	$(BIN)/understudy demo

test: $(READY)  ## install, then the whole suite
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

test-oldest: $(READY)  ## the suite with the oldest PyTorch that is supported, in an environment of its own
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(VENV)-oldest
	@grep -vE '^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==' constraints.txt > $(VENV)-oldest/constraints.txt
	@VIRTUAL_ENV=$(VENV)-oldest $(UV) pip install --quiet --constraint $(VENV)-oldest/constraints.txt \
	     --group dev --editable . $(OLDEST)
	$(VENV)-oldest/bin/python -m pytest -n 2 --dist worksteal -q

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY)  ## refresh constraints.txt from what pyproject.toml allows today
	@{ echo "# Written by 'make lock': the versions every install uses. No addresses in here."; \
	   $(UV) pip compile --quiet --universal --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	     --group dev pyproject.toml; } > constraints.tmp && mv constraints.tmp constraints.txt

clean:
	rm -rf $(VENV)

# uv comes from pip: into the project's own environment where Python can make one, else into the user's site.
UV = $$(test -x $(BIN)/uv && echo $(BIN)/uv || echo "$(PYTHON) -m uv")
$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2>/dev/null || rm -rf $(VENV)
	@if test -x $(BIN)/pip; then $(BIN)/python -m pip install --quiet uv; \
	 else $(PYTHON) -m pip install --quiet --user uv || $(PYTHON) -m pip install --quiet --user --break-system-packages uv; \
	      test -x $(BIN)/python || $(PYTHON) -m uv venv --quiet $(VENV); fi
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --constraint constraints.txt --group dev --editable .
	@touch $@
