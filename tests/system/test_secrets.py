"""What is secret in a command or a message is not shown, and nothing else is hidden."""

from __future__ import annotations

import sys

import pytest
import torch

from bioplaus.system.device import provenance
from bioplaus.system.secrets import redacted, redacted_command

HIDDEN = {
    "postgresql://me:hunter2@nowhere/db": "postgresql://me:***@nowhere/db",
    "--storage=mysql+pymysql://a:p@ss:w/0rd@h:3306/d": "--storage=mysql+pymysql://a:***@h:3306/d",
    "sqlite:///file:t.db?uri=true&password=hunter2": "sqlite:///file:t.db?uri=true&password=***",
    "redis://:hunter2@h:6379/0": "redis://:***@h:6379/0",
    "https://ghp_hunter2@github.com/x": "https://***@github.com/x",
    "mssql://h/db?user=a&pwd=hunter2&x=1": "mssql://h/db?user=a&pwd=***&x=1",
    "host=h password=hunter2 dbname=d": "host=h password=*** dbname=d",
    "PGPASSWORD=hunter2 bioplaus tune": "PGPASSWORD=*** bioplaus tune",
    "MLFLOW_TRACKING_TOKEN: hunter2": "MLFLOW_TRACKING_TOKEN: ***",
    "{'api_key': 'hunter 2', 'x': 1}": "{'api_key': '***', 'x': 1}",
}
PLAIN = [
    "bioplaus run --rule gaitprop --set ortho=0.05 --seeds 0-4",
    "sqlite:///trials.db",
    "http://localhost:5000/#/experiments/1",
    "ray start --head; --address 10.0.0.1:6379",
    "postgresql://me@host/db",
    "unknown rule 'x'; did you mean key=value?",
    "mail me@example.org at 12:30",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_a_secret_is_hidden_and_the_rest_stays(text: str) -> None:
    assert redacted(text) == HIDDEN[text]
    assert redacted(HIDDEN[text]) == HIDDEN[text]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_known_secret_is_hidden_wherever_a_driver_quotes_it() -> None:
    url = "postgresql://me:p%40ss-word@h/db"
    said = redacted("auth failed for me with p@ss-word (p%40ss-word)", url)
    assert said == "auth failed for me with *** (***)"


def test_the_word_after_a_secret_option_is_hidden() -> None:
    words = ["bioplaus", "tune", "--api-token", "hunter2", "--storage", "postgresql://a:b@h/d"]
    shown = ["bioplaus", "tune", "--api-token", "***", "--storage", "postgresql://a:***@h/d"]
    assert redacted_command(words) == shown


def test_a_provenance_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["/bin/bioplaus", "tune", "--storage", "postgresql://me:hunter2@h/db"]
    monkeypatch.setattr(sys, "argv", command)
    origin = provenance(torch.device("cpu"), 1, [0])
    assert origin["command"] == ["bioplaus", "tune", "--storage", "postgresql://me:***@h/db"]
