import pytest
import torch

from aimc_lightning.functional.compensation import compensation_factor, compensation_readout


def test_readout_is_the_mean_magnitude():
    y = torch.randn(8, 5, dtype=torch.float64)
    assert compensation_readout(y).item() == pytest.approx(y.abs().numpy().mean())


def test_readout_per_column_averages_over_inputs():
    y = torch.randn(8, 5, dtype=torch.float64)
    ours = compensation_readout(y, per_column=True)
    assert ours.tolist() == pytest.approx(y.abs().numpy().mean(axis=0).tolist())


@pytest.mark.parametrize("per_column", [False, True])
def test_readout_is_at_least_1e_4(per_column):
    ours = compensation_readout(torch.zeros(4, 3), per_column=per_column)
    assert (ours == torch.tensor(1e-4)).all()


def test_readout_refuses_other_than_a_matrix():
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        compensation_readout(torch.zeros(4))


def test_factor_restores_uniform_decay():
    y = torch.randn(8, 5)
    factor = compensation_factor(compensation_readout(y), compensation_readout(y / 2))
    assert factor.item() == 2.0
