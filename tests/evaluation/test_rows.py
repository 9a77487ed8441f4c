import math

import pytest

from aimc_lightning.evaluation.rows import DriftRow, RowFile, write_rows


def _row(chip=0, value=0.5, **changes):
    values = {"stage": "hwa", "t_inference_s": 1.0, "metric": "acc", "seed": 3, "fingerprint": "f"}
    return DriftRow(chip=chip, value=value, **{**values, **changes})


def test_rows_are_in_the_file_as_soon_as_they_are_appended(tmp_path):
    file = RowFile(tmp_path / "new" / "drift.csv")
    for chip in range(3):
        file.append(_row(chip, 0.1 * chip))
        assert RowFile(file.path).rows == file.rows


def test_values_come_back_exactly(tmp_path):
    rows = [_row(0, 1 / 3), _row(1, math.inf), _row(2, 0.1, metric='a,"b"')]
    write_rows(tmp_path / "drift.csv", rows)
    assert RowFile(tmp_path / "drift.csv").rows == rows


def test_nan_row_is_kept_and_marked(tmp_path):
    write_rows(tmp_path / "drift.csv", [_row(0, math.nan)])
    (row,) = RowFile(tmp_path / "drift.csv").rows
    assert math.isnan(row.value)
    assert not row.is_finite


@pytest.mark.parametrize("cut", range(1, 40, 6))
def test_half_written_line_is_measured_again(cut, tmp_path):
    path = tmp_path / "drift.csv"
    write_rows(path, [_row(0), _row(1)])
    path.write_bytes(path.read_bytes()[:-cut])
    file = RowFile(path)
    file.append(_row(len(file.rows)))
    assert [row.chip for row in RowFile(path).rows] == list(range(len(file.rows)))


def test_foreign_file_is_refused_and_not_changed(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("name,price\npear,1\n")
    with pytest.raises(ValueError, match="not a table of drift measurements"):
        RowFile(path)
    assert path.read_text() == "name,price\npear,1\n"


def test_damaged_line_is_named(tmp_path):
    path = tmp_path / "drift.csv"
    write_rows(path, [_row(0)])
    with path.open("a") as file:
        file.write("hwa,zero,1.0,acc,0.5,3,f\n")
    with pytest.raises(ValueError, match="line 3 is not a row"):
        RowFile(path)


def test_rows_of_another_model_are_refused(tmp_path):
    write_rows(tmp_path / "drift.csv", [_row(0)])
    file = RowFile(tmp_path / "drift.csv")
    file.check_fingerprint("hwa", "f")
    file.check_fingerprint("direct", "g")
    with pytest.raises(ValueError, match="another model, configuration, metric or seed"):
        file.check_fingerprint("hwa", "g")


def test_copy_in_memory_writes_nothing(tmp_path):
    write_rows(tmp_path / "drift.csv", [_row(0)])
    copy = RowFile(tmp_path / "drift.csv").in_memory()
    copy.append(_row(1))
    assert len(copy.rows) == 2
    assert len(RowFile(tmp_path / "drift.csv").rows) == 1
