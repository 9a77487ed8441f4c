import math

import pytest

from aimc_lightning.evaluation.tolerances import SensitivityResults, Tolerance

RESULTS = SensitivityResults(
    [
        Tolerance("adc_noise", "signal", "mvm_error", 0.04, 0.06, 0.07, 0.065, 0.01, 0.012),
        Tolerance("adc_noise", "signal", "iso_accuracy", 0.04, 0.1, math.inf, math.nan, math.nan),
        Tolerance("stuck_zero", "weight", "iso_accuracy", 0.0, 0.02, 0.03, 0.027, math.nan),
    ],
    3600.0,
    2,
    [],
    0,
)


def test_table_comes_back_from_its_file(tmp_path):
    RESULTS.to_csv(tmp_path / "sensitivity.csv")
    read = SensitivityResults.from_csv(tmp_path / "sensitivity.csv")
    assert str(read) == str(RESULTS)
    assert read.tolerances[0] == RESULTS.tolerances[0]


@pytest.mark.parametrize("text", ["", "name,standard\nadc_noise,1\n"])
def test_another_table_is_refused(tmp_path, text):
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(ValueError, match=r"other\.csv is not a table of tolerances"):
        SensitivityResults.from_csv(tmp_path / "other.csv")


def test_bars_are_multiples_and_losses():
    tolerated, lost = RESULTS.to_figure().axes
    assert [bar.get_width() for bar in tolerated.patches] == pytest.approx([0.5, 1.5])  # from 1 on
    assert [bar.get_width() for bar in lost.patches] == pytest.approx([1.2])
    names = [label.get_text() for label in tolerated.get_yticklabels()]
    assert names == ["adc noise", "stuck zero"]
