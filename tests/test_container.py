"""The container, its commands and the workflow: read, since neither can be run here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
yaml = pytest.importorskip("yaml", reason="comes with the extra `docs`")


def loaded(path: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))
    return found


def readmes_commands() -> list[str]:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)\n```$", text, flags=re.M)


def test_the_services_are_the_readmes_two_commands() -> None:
    services = loaded("compose.yaml")["services"]
    run, test = readmes_commands()
    assert f"bioplaus {' '.join(services['run']['command'])}" == run.partition(" && ")[2]
    shell, option, command = services["test"]["entrypoint"]
    assert (shell, option) == ("sh", "-c")
    assert command.replace("'", '"') == test
    assert all(service["build"] == "." for service in services.values())


def test_the_container_is_made_of_what_is_there() -> None:
    lines = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    words = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert words[0] == "FROM"
    assert set(words) <= {"FROM", "RUN", "WORKDIR", "COPY", "VOLUME", "ENTRYPOINT", "CMD"}
    (install,) = [line for line in lines if "pip install" in line]
    extras = re.search(r"\.\[([\w,]+)\]", install)
    assert extras is not None
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    for extra in extras[1].split(","):
        assert re.search(rf"^{extra} = \[", text, flags=re.M), extra
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    assert not {"bioplaus", "rules", "datasets", "reports", "tests", "pyproject.toml"} & {*ignored}


def test_the_workflow_checks_and_publishes_pages_and_boards() -> None:
    workflow = loaded(".github/workflows/ci.yml")
    assert {"push", "pull_request"} <= workflow[True].keys(), "YAML reads `on` as true"
    check, pages = workflow["jobs"]["check"], workflow["jobs"]["pages"]
    assert any(step.get("run") == "bash .ci/run" for step in check["steps"])
    assert pages["needs"] == "check" and pages["if"] == "github.ref == 'refs/heads/main'"
    assert pages["permissions"] == {"pages": "write", "id-token": "write"}
    assert any(step.get("run") == "mkdocs build --strict" for step in pages["steps"])
    uploaded = [s for s in pages["steps"] if "upload-pages-artifact" in s.get("uses", "")]
    site = loaded("mkdocs.yml")
    assert uploaded[0]["with"]["path"] == site["site_dir"]
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert "uses" not in step or re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
    boards = list((REPOSITORY / site["docs_dir"] / "results").glob("*.html"))
    assert boards, "the boards lie among the pages, and are copied as they are"
