"""docs/lightning.md says what the test of all combinations has found."""

import pytest

from docs.tools import lightning_table
from tests.helpers import matrix


def test_page_is_made_from_the_record(root):
    assert (root / "docs" / "lightning.md").read_text() == lightning_table.page()


def test_every_combination_is_recorded():
    assert list(matrix.stored()) == matrix.combinations()


def test_every_refusal_names_a_remedy():
    reasons = {text for outcome in matrix.stored().values() for text in outcome.values()}
    refusals = reasons - {matrix.WORKS}
    assert refusals
    for text in refusals:
        assert "Use strategy='aimc_" in text or "Make " in text, text


@pytest.mark.parametrize("other", ["works", "no"])
def test_only_values_without_a_difference_stand_in_one_row(other):
    rows = [(("a", "x"), ("works",)), (("a", "y"), (other,)), (("b", "x"), ("works",))]
    expected = {"works": [(("a", "x, y"), ("works",)), (("b", "x"), ("works",))]}
    expected["no"] = [(("a, b", "x"), ("works",)), (("a", "y"), ("no",))]
    assert lightning_table.merged(rows) == expected[other]
