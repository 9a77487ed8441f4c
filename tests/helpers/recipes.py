"""Names of recipes for parametrised tests."""

import pytest

from aimc_lightning.recipes.catalog import list_recipes

# Full-size networks of tens of millions of weights.
LARGE = ("lstm_hmm_swb300", "rnnt_swb300")


def marked_recipes() -> list:
    """Return the names of all recipes, the large ones marked slow."""
    slow = pytest.mark.slow
    return [pytest.param(name, marks=slow if name in LARGE else ()) for name in list_recipes()]
