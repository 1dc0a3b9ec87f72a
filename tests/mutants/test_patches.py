"""The patches still fit the tree, and name tests that exist. That the tests notice them is run.py's to say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.mutants.run import ROOT, Mutant, apply, read_mutants


def test_there_are_patches() -> None:
    assert len(read_mutants()) >= 11, "issue 3 names eleven properties"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("mutant", read_mutants(), ids=lambda mutant: mutant.name)
def test_a_patch_fits(mutant: Mutant) -> None:
    apply(mutant.patch, ROOT, "--check")
    file, _, name = mutant.test.partition("::")
    assert f"def {name}(" in (ROOT / file).read_text()


def test_a_patch_that_does_not_fit_is_told(tmp_path: Path) -> None:
    mutant = read_mutants()[0]
    with pytest.raises(ValueError, match=r"No such file|does not exist"):
        apply(mutant.patch, tmp_path, "--check")
