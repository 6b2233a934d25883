"""What is downloaded is told before; what is another at each load is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioplaus.datasets.files import download_file
from bioplaus.errors import DataError
from bioplaus.tasks.door import load_dataset, load_split
from tests.helpers.idx_files import Downloads, Tiny
from tests.helpers.strangers import install_dataset


def test_each_url_is_told_before_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def fake(url: str, *_: object) -> None:
        said.append(capsys.readouterr().err)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fake)
    download_file("https://x/y.gz", "y.gz", "", tmp_path)
    assert said == ["Downloading https://x/y.gz ...\n"]


def test_what_is_there_is_not_spoken_of(
    places: list[Path], downloads: Downloads, capsys: pytest.CaptureFixture[str]
) -> None:
    Tiny().load("train")
    assert "Downloading a://x/" in capsys.readouterr().err
    Tiny().load("train")
    assert capsys.readouterr() == ("", "")


RANDOM = {
    "examples": "return Split(torch.rand(n, 4), y)",
    "labels": "return Split(x, torch.randint(3, (n,)))",
    "numpy": "return np.random.default_rng().random((n, 4)), y",
    "order": "order = torch.randperm(n); return x[order], y[order]",
}


@pytest.mark.parametrize("case", RANDOM)
def test_other_examples_at_each_load_are_refused(case: str, site: Path) -> None:
    install_dataset(site, "restless", RANDOM[case])
    with pytest.raises(
        DataError, match=r"the train split of restless: .*from a generator with a s"
    ):
        load_split(load_dataset("restless"), "train")


def test_a_seed_makes_them_the_same(site: Path) -> None:
    seeded = "return np.random.default_rng(0).random((n, 4)), y"
    install_dataset(site, "settled", seeded)
    assert len(load_split(load_dataset("settled"), "train")) == 40


def test_a_second_load_that_raises_is_told_as_the_first_would_be(site: Path) -> None:
    once = (
        "self.n = getattr(self, 'n', 0) + 1; assert self.n < 2, 'a generator that ran dry'; "
        "return x, y"
    )
    install_dataset(site, "dry", once)
    with pytest.raises(DataError, match=r"cannot be loaded: .*ran dry"):
        load_split(load_dataset("dry"), "train")
