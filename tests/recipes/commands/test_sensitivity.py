import csv

import pytest

from aimc_lightning.recipes.cli import main
from aimc_lightning.recipes.html_report.run_data import read_runs
from tests.helpers.toy import LIGHTNING_ADVICE

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


def test_run_gets_table_figure_and_rows(short_run, tmp_path, capsys):
    main(short_run("resnet8_digits"))
    run = tmp_path / "run"
    command = ["sensitivity", str(run), "--chips", "1", "--tolerance", "0.9", "--traceback"]
    main([*command, "--only", "stuck_random"])
    assert "stuck_random" in capsys.readouterr().out
    with (run / "sensitivity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["criterion"] for row in rows] == ["mvm_error", "iso_accuracy"]
    assert 0 < float(rows[0]["tolerated"]) < float(rows[0]["upper"]) < 0.2
    assert (run / "sensitivity.png").stat().st_size > 1000
    (in_report,) = read_runs([run], [])
    assert len(in_report.sensitivity.tolerances) == 2
    written = (run / "sensitivity_rows.csv").read_bytes()
    assert b"stuck_random=" in written
    main([*command, "--only", "stuck_random"])
    assert (run / "sensitivity_rows.csv").read_bytes() == written


def test_folder_without_run_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["sensitivity", str(tmp_path)])
    assert "not the folder of a run" in capsys.readouterr().err
