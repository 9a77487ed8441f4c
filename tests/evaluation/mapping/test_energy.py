import pytest
import yaml

from aimc_lightning.evaluation.mapping.energy import (
    estimate,
    list_constants,
    load_constants,
)
from aimc_lightning.evaluation.mapping.layer import LayerMapping

OPERATIONS = 2 * 256 * 256
FULL = LayerMapping("fc", "Linear", (256,), (256,), (256, 256), vectors=1.0)


@pytest.mark.parametrize("name", list_constants())
def test_every_number_has_source_and_certainty(name):
    chip = load_constants(name)
    assert len(chip.origins) == 3
    assert all("[read]" in o or "[second-hand]" in o or "[derived]" in o for o in chip.origins)
    assert "doi" in chip.source


def test_derived_energies_follow_from_the_published_efficiencies():
    chip = load_constants("hermes_64core_2023").energy_per_mvm_nj
    assert chip.low == pytest.approx(OPERATIONS / 9.76e12 * 1e9, rel=0.005)
    assert chip.high == pytest.approx(OPERATIONS / 2.48e12 * 1e9, rel=0.005)
    core = load_constants("hermes_core_2022").energy_per_mvm_nj
    assert core.typical == pytest.approx(OPERATIONS / 10.5e12 * 1e9, rel=0.005)
    tile = load_constants("analog_ai_2023").energy_per_mvm_nj
    for value, tops_per_watt in ((tile.low, 20.0), (tile.typical, 12.4), (tile.high, 6.94)):
        assert value == pytest.approx(4 * OPERATIONS / (tops_per_watt * 1e12) * 1e9, rel=0.005)


def test_derived_latencies_follow_from_the_published_throughput():
    chip = load_constants("hermes_64core_2023").latency_per_mvm_ns
    assert chip.low == pytest.approx(64 * OPERATIONS / 63.1e12 * 1e9, rel=0.005)
    assert chip.typical == pytest.approx(64 * OPERATIONS / 16.1e12 * 1e9, rel=0.005)


def test_a_full_crossbar_costs_the_published_energy_and_time():
    chip = load_constants("hermes_64core_2023")
    found = estimate([FULL], chip)
    assert found.energy_uj.low == pytest.approx(chip.energy_per_mvm_nj.low / 1e3)
    assert found.energy_uj.high == pytest.approx(chip.energy_per_mvm_nj.high / 1e3)
    assert found.latency_us.typical == pytest.approx(chip.latency_per_mvm_ns.typical / 1e3)


def test_an_empty_crossbar_costs_by_cells_by_columns_or_in_full():
    half = LayerMapping("fc", "Linear", (128,), (64,), (256, 256), vectors=1.0)
    chip = load_constants("hermes_core_2022")
    found = estimate([half], chip).energy_uj
    one = chip.energy_per_mvm_nj.typical / 1e3
    assert (found.low, found.typical, found.high) == pytest.approx((one / 8, one / 4, one))


def test_a_larger_crossbar_takes_several_of_the_chip():
    large = LayerMapping("fc", "Linear", (512,), (512,), (512, 512), vectors=1.0)
    chip = load_constants("hermes_core_2022")
    assert estimate([large], chip).energy_uj.low == pytest.approx(
        4 * estimate([FULL], chip).energy_uj.low
    )


def test_layers_follow_each_other_and_overlap_in_a_pipeline():
    layers = [
        LayerMapping(str(n), "Linear", (8, 8), (8,), (8, 8), vectors=float(n)) for n in (1, 3)
    ]
    found = estimate(layers, load_constants("hermes_core_2022"))
    assert found.latency_us.typical == pytest.approx(4 * 0.130)
    assert found.interval_us.typical == pytest.approx(3 * 0.130)


def test_nothing_to_count_is_an_error():
    with pytest.raises(ValueError, match="no product on tiles was counted"):
        estimate([LayerMapping("bn", "BatchNorm2d")], load_constants("hermes_core_2022"))


def test_unknown_constants_list_the_known_ones():
    with pytest.raises(ValueError, match=r"known are analog_ai_2023.*Did you mean 'hermes_core_2"):
        load_constants("hermes_core_2021")


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("energy_per_mvm_nj", {"source": " "}, "energy_per_mvm_nj needs a source"),
        ("latency_per_mvm_ns", {"certainty": "sure"}, "got 'sure'"),
        ("energy_per_mvm_nj", {"low": 99.0}, "must be positive and ascending, got 99, 12.5"),
        ("crossbar", {"rows": 0}, "at least one row"),
        ("crossbar", None, "lacks 'crossbar'"),
    ],
)
def test_a_number_without_source_or_order_is_refused(part, change, message, tmp_path):
    shipped = load_constants("hermes_core_2022")
    data = {
        "title": "mine", "source": "paper", "includes": "all", "excludes": "none",
        "crossbar": {"rows": 256, "columns": 256, "source": "a", "certainty": "read"},
    }  # fmt: skip
    for name in ("energy_per_mvm_nj", "latency_per_mvm_ns"):
        data[name] = {**vars(getattr(shipped, name)), "source": "a", "certainty": "read"}
    data[part] = {**data[part], **change} if change else None
    if change is None:
        del data[part]
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(ValueError, match=message):
        load_constants(file)
