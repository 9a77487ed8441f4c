import csv

import pytest

from aimc_lightning.recipes.cli import main


def test_table_csv_and_picture_of_a_recipe(tmp_path, capsys):
    pytest.importorskip("sklearn")
    files = [tmp_path / "mapping.csv", tmp_path / "tiles.png"]
    main(
        [
            "mapping",
            "resnet8_digits",
            "--constants",
            "hermes_core_2022",
            "--traceback",
            "--csv",
            str(files[0]),
            "--figure",
            str(files[1]),
        ]
    )
    shown = " ".join(capsys.readouterr().out.split())
    assert "coarse" in shown
    with files[0].open(newline="") as file:
        rows = {row["layer"]: row for row in csv.DictReader(file)}
    # The last convolution has 64 x 9 rows on 2 tiles and runs at 2 x 2 places.
    assert rows["network.block3.conv2"]["rows"] == "288+288"
    assert float(rows["network.block3.conv2"]["MVMs"]) == 8.0
    assert float(rows["network.linear"]["DAC conversions"]) == 64.0
    assert files[1].stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "neither a recipe"),
        (["."], "not the folder of a run"),
        (["resnet8_digits", "--constants", "hermes"], "unknown constants 'hermes'"),
    ],
)
def test_what_cannot_be_counted_says_why(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["mapping", *arguments])
    assert message in capsys.readouterr().err
