# Steadyfist on one machine. `make run` on a fresh Debian 12, as root, ends with a guest that answers; see `make help`.
#
# Variables, all optional:
#   NODES=n          hypervisors (1)                 RUN_DIR=path     everything the lab keeps (var/)
#   API_PORT=n       the API on 127.0.0.1 (13000)    LAB_OFFLINE=1    no way from the nodes to the internet
#   DATABASE_URL     your MariaDB, with SCHEMA_DATABASE_URL; BROKER_URL your Redis; private ones otherwise
#   NODE_CPUS, NODE_MEMORY_MB, NODE_DISK_GB          what each node offers (4, 4096, 40)
#   INSTANCE=name    the guest that `make ssh` opens (first)
#   CMD="..."        what `make ssh` and `make outside` run instead of a shell
#   SIMULATION="…"   options of `make simulate` (--nodes 200 --instances 4000 --seed 7 …; -h names them)

PYTHON := .venv/bin/python
VARIABLES := NODES RUN_DIR API_PORT LAB_OFFLINE LAB_CACHE DATABASE_URL SCHEMA_DATABASE_URL BROKER_URL
VARIABLES += NODE_CPUS NODE_MEMORY_MB NODE_DISK_GB FETCH_ALLOW TIME_SCALE
# Only those that have a value: an empty one would be taken for one.
$(foreach name,$(VARIABLES),$(if $($(name)),$(eval export $(name))))
unexport MAKEFLAGS

CHECKING := SECRET_KEY=only-for-checks-which-read-no-rows-and-sign-nothing

.PHONY: help install run stop status clean ssh outside check lint fast real e2e test prove clean-room simulate

help:
	@grep -E '^#' Makefile | sed 's/^# \{0,1\}//'
	@echo 'Targets: run stop status clean ssh outside install check fast real e2e test prove clean-room simulate'

install:
	@/usr/bin/python3 -m lab.install

run: install
	@$(PYTHON) -m lab run

stop status clean:
	@$(PYTHON) -m lab $@

ssh outside:
	@$(PYTHON) -m lab $@ $(CMD)

lint: install
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(CHECKING) $(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(CHECKING) $(PYTHON) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(CHECKING) $(PYTHON) manage.py check --fail-level WARNING

check: lint fast

fast real e2e: install
	@$(PYTHON) -m lab.suites $@

test: install lint
	@$(PYTHON) -m lab.suites fast real e2e

prove: export PROVE := 1
prove: install lint
	@$(PYTHON) -m lab.suites fast real e2e
	$(PYTHON) -m bench.steps
	$(PYTHON) -m bench.fairness
	$(PYTHON) -m bench.throughput
	$(PYTHON) -m bench.create
	$(PYTHON) -m bench.batch
	$(PYTHON) -m bench.placement
	$(PYTHON) -m bench.first_boot
	$(PYTHON) -m bench.reading
	$(PYTHON) -m bench.scale
	$(PYTHON) -m bench.events
	$(PYTHON) -m bench.idle

simulate: install
	@$(PYTHON) -m lab.simulate $(SIMULATION)

clean-room:
	@/usr/bin/python3 -m lab.clean_room
