"""What mkdocs runs: adds the pages that are made of the code."""

from __future__ import annotations

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

from pages import record_page, rule_pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The generated pages beside those that are written."""
    made = {**rule_pages(), "records.md": record_page()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files
