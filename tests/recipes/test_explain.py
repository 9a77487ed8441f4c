"""The command ``explain`` from the user's side."""

import pytest

from aimc_lightning.recipes.cli import main


def test_preset_is_explained_stage_by_stage(capsys):
    main(["explain", "standard_pcm"])
    shown = capsys.readouterr().out
    assert shown.index("DAC") < shown.index("IR drop") < shown.index("ADC") < shown.index("chip")


def test_file_with_some_fields_is_explained(tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text("adc: {bits: 5}\nchip: {device: {name: hermes, num_devices: 1}}\n")
    main(["explain", str(file), "--figure", str(tmp_path / "mine.png")])
    shown = capsys.readouterr().out
    assert "5 bit" in shown
    assert "hermes" in shown
    assert (tmp_path / "mine.png").is_file()


@pytest.mark.parametrize(
    ("text", "content", "message"),
    [
        ("standrad_pcm", None, "Did you mean 'standard_pcm'"),
        ("missing.yaml", None, "does not exist"),
        ("bad.yaml", "adc: {bits: 1}", "bits must be an integer from 2 to 24"),
        ("field.yaml", "adc: {bots: 6}", "has no field 'bots'"),
        ("list.yaml", "[1, 2]", "must hold the fields of TileConfig"),
    ],
)
def test_what_cannot_be_explained_says_why(text, content, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / text).write_text(content)
    with pytest.raises(SystemExit):
        main(["explain", text])
    assert message in capsys.readouterr().err
