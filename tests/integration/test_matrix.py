"""Each combination of settings does what docs/lightning.md says of it; see tests/helpers/matrix.py.

A stage that works has finite losses and converted layers, equal weights and metrics on all ranks,
after a resume the weights and optimizer of the uninterrupted run bit for bit, and in a test of the
checkpoint the loss that validation of the trained module had.
"""

import pytest

from tests.helpers import matrix
from tests.helpers.processes import NEEDS_FSDP
from tests.helpers.toy import LIGHTNING_ADVICE

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]

#: Each value of each axis; the others take minutes together and are marked slow.
REPRESENTATIVE = {
    "callback-auto-1-bf16-mixed-configure_model-4-ema",
    "callback-ddp-2-32-true-setup-4-ema",
    "callback-ddp_fork-2-32-true-init-1-no_ema",
    "strategy-aimc-1-32-true-setup-1-no_ema",
    "strategy-aimc_ddp-2-bf16-mixed-configure_model-1-ema",
    "strategy-aimc_ddp_fork-2-32-true-init-4-no_ema",
    "strategy-aimc_fsdp-2-bf16-mixed-init-4-no_ema",
}


def _marks(combination: matrix.Combination) -> list[pytest.MarkDecorator]:
    slow = [] if str(combination) in REPRESENTATIVE else [pytest.mark.slow]
    return [*slow, NEEDS_FSDP] if combination.strategy == "aimc_fsdp" else slow


CASES = [pytest.param(c, id=str(c), marks=_marks(c)) for c in matrix.combinations()]


def test_representatives_are_combinations_and_have_each_value_of_each_axis():
    chosen = [c for c in matrix.combinations() if str(c) in REPRESENTATIVE]
    assert len(chosen) == len(REPRESENTATIVE)
    for axis in range(len(matrix.Combination._fields)):
        assert {c[axis] for c in chosen} == {c[axis] for c in matrix.combinations()}


@pytest.mark.parametrize("combination", CASES)
def test_combination_does_what_the_documented_table_says(combination, tmp_path):
    assert matrix.run(combination, tmp_path) == matrix.stored()[combination]
