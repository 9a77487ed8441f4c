"""The table of a conversion."""

from aimc_lightning.report import ConversionReport, LayerReport


def test_table_names_every_layer_and_counts():
    report = ConversionReport(
        [LayerReport("a", "Linear", 1, ""), LayerReport("longer", "Conv2d", 3, "")],
        [LayerReport("", "Net", 0, "not a layer that runs on tiles")],
    )
    assert report.tiles == 4
    assert str(report).splitlines() == [
        "a                   Linear  1 tile",
        "longer              Conv2d  3 tiles",
        "(the model itself)  Net     digital: not a layer that runs on tiles",
        "2 layers on 4 tiles, 1 layer with weights stays digital",
    ]


def test_second_conversion_says_that_nothing_was_done():
    assert str(ConversionReport(already=True)) == "The model was analog already; nothing was done."


def test_layers_that_are_alike_and_stay_digital_share_a_line():
    norms = [
        LayerReport(f"norm{i}", "BatchNorm2d", 0, "normalisation is digital") for i in range(5)
    ]
    other = LayerReport("embed", "Embedding", 0, "a table")
    text = str(ConversionReport([LayerReport("fc", "Linear", 1, "")], [*norms, other]))
    assert "norm0 and 4 more  BatchNorm2d  digital: normalisation is digital" in text
    assert "norm1" not in text
    assert "embed" in text
    assert "6 layers with weights stay digital" in text
