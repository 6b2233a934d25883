# The targets are the commands that CI runs; `make all` is all but the fresh environment
# and the audit, which needs the network.
.PHONY: all install check test docs wheel audit ci

all: check test docs wheel

install:
	pip install -e ".[tests,lint,docs,plot,tensorboard,mlflow]"

check:
	ruff check .
	ruff format --check .
	mypy

test:
	pytest -n auto

docs:
	mkdocs build --strict --quiet

wheel:
	.ci/wheel

audit:
	.ci/audit

ci:
	.ci/run
