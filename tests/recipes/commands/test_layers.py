import pytest

from aimc_lightning.evaluation.layers.results import LayerResults
from aimc_lightning.recipes.cli import main
from tests.helpers.toy import LIGHTNING_ADVICE

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


def test_run_gets_table_figure_and_rows(short_run, tmp_path, capsys):
    main(short_run("resnet8_digits"))
    run = tmp_path / "run"
    main(["layers", str(run), "--chips", "1", "--batches", "1", "--traceback"])
    assert "network.block3.conv2" in capsys.readouterr().out
    results = LayerResults.from_csv(run / "layers.csv")
    assert len(results.layers) == 8
    assert all(row.mvm_error > 0 for row in results.layers)
    assert all(row.kurtosis_before == row.kurtosis_before for row in results.layers)
    assert (run / "layers.png").stat().st_size > 1000
    assert (run / "layers_rows.csv").read_text().count("only ") == 8
    main(["report", str(run), "--out", str(tmp_path / "page.html")])
    assert "lost alone" in (tmp_path / "page.html").read_text()


def test_folder_without_run_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["layers", str(tmp_path)])
    assert "not the folder of a run" in capsys.readouterr().err
