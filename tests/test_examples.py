"""The examples of the docstrings run, and give what they say."""

from __future__ import annotations

import doctest
import sys

import pytest

import bioplaus

WITH_EXAMPLES = ("Around", "Dataset", "LayeredRule", "Logger", "Network", "Report", "Stream")


@pytest.mark.parametrize("name", sorted(bioplaus.__all__))
def test_the_examples_of_a_public_name_run(name: str) -> None:
    thing = getattr(bioplaus, name)
    module = sys.modules.get(getattr(thing, "__module__", ""))
    if not module or not module.__name__.startswith("bioplaus"):
        return  # a number, or an alias of a type
    found = doctest.DocTestFinder(recurse=False).find(thing, name, module=module)
    examples = [example for test in found for example in test.examples]
    assert examples or name not in WITH_EXAMPLES
    for test in found:
        failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed
        assert not failed, f"{failed} of the examples in the docstring of {name} fail"
