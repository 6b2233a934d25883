# The targets are the commands that CI runs; `make all` is all of them but the fresh environment.
.PHONY: all install check test docs wheel ci

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

ci:
	.ci/run
