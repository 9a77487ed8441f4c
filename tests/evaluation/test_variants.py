import pytest
import torch
from lightning.pytorch.cli import LightningCLI
from torch import nn

from aimc_lightning.checkpoint import state_fingerprint
from aimc_lightning.config import InputRangeConfig, TileConfig
from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.evaluation.calibration import calibrate_input_ranges
from aimc_lightning.evaluation.callback import DriftEvaluation
from aimc_lightning.evaluation.sweep import evaluate_drift
from aimc_lightning.evaluation.variants import METHODS, Variant, parse_variants
from aimc_lightning.integration.callback import AnalogTraining
from tests.helpers.toy import LIGHTNING_ADVICE, Toy, ToyData, toy, trainer

pytestmark = [
    *(pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE),
    pytest.mark.filterwarnings("ignore:LightningCLI.s args parameter"),
]


class _Normalised(Toy):
    def _make(self):
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


@pytest.fixture
def analog():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = _Normalised()
    convert_to_analog(module)
    return module


def _evaluate(module, recalibrate, **settings):
    options = {"metric": "test_loss", "chance": 9.0, "progress": False, **settings}
    data = options.pop("data", None) or ToyData(samples=96)
    return evaluate_drift(
        trainer(), module, data, ("1d", "1y"), 2, recalibrate=recalibrate, **options
    )


def _values(results, stage):
    return [row.value for row in results.rows if row.stage == stage]


def test_every_method_is_a_stage_of_its_own_and_leaves_the_module_as_it_was(analog):
    before = state_fingerprint(analog), [m.training for m in analog.modules()]
    results = _evaluate(analog, METHODS)
    stages = [line.stage for line in results.summary()][::2]
    suffixes = ["bn" if name == "batch_norm" else name for name in METHODS]
    assert stages == ["hwa", *(f"hwa+{suffix}" for suffix in suffixes)]
    plain = _values(results, "hwa")
    assert all(_values(results, stage) != plain for stage in stages[1:])
    assert (state_fingerprint(analog), [m.training for m in analog.modules()]) == before
    assert analog.net[0].analog.config == TileConfig()
    assert _values(_evaluate(analog, None), "hwa") == plain


def test_stage_equals_a_module_that_was_changed_by_hand(analog):
    results = _evaluate(analog, "column")
    digital = _Normalised()
    digital.load_state_dict(analog.state_dict(), strict=False)
    convert_to_analog(digital, TileConfig().with_values({"chip.compensation": "column"}))
    digital.load_state_dict(analog.state_dict())
    assert _values(results, "hwa+column") == _values(_evaluate(digital, None), "hwa")


def test_range_stage_equals_a_module_calibrated_by_the_public_function(analog):
    data = ToyData(samples=32)
    data.train_dataloader = data.val_dataloader  # without shuffling, so that no seed matters
    stage = _values(_evaluate(analog, "max", data=data), "hwa+max")
    calibrate_input_ranges(trainer(), analog, data, "max")
    assert _values(_evaluate(analog, None, data=data), "hwa") == stage


def test_methods_are_combined_and_apply_to_both_networks(analog):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        digital = _Normalised()
    results = _evaluate(analog, "quantile+column+batch_norm", direct=digital)
    stages = list(dict.fromkeys(row.stage for row in results.rows))
    suffix = "+quantile+column+bn"
    assert stages == ["direct", "hwa", f"direct{suffix}", f"hwa{suffix}"]


def test_stages_of_a_cut_file_are_completed(analog, tmp_path):
    chosen = ("programming", "cached_quantile")
    expected = _evaluate(analog, chosen, csv_path=tmp_path / "whole.csv").rows
    whole = (tmp_path / "whole.csv").read_bytes()
    for kept in (4, 8, 11):
        path = tmp_path / "drift.csv"
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:kept]))
        assert _evaluate(analog, chosen, csv_path=path).rows == expected
        assert path.read_bytes() == whole


def test_callback_gives_the_rows_of_the_function(analog):
    drift = DriftEvaluation(
        ("1d", "1y"), 2, "test_loss", 9.0, recalibrate=["batch_norm", "max"],
        recalibration_batches=3,
    )  # fmt: skip
    trainer(drift).test(analog, ToyData(samples=96), verbose=False)
    expected = _evaluate(analog, ("batch_norm", "max"), recalibration_batches=3)
    assert drift.results.rows == expected.rows


def test_callback_is_configured_in_yaml(tmp_path):
    text = """
trainer:
  logger: false
  callbacks:
    class_path: aimc_lightning.DriftEvaluation
    init_args: {times: [1h], recalibrate: [batch_norm, column+batch_norm]}
"""
    (tmp_path / "test.yaml").write_text(text)
    cli = LightningCLI(
        Toy, ToyData, run=False, args=["--config", str(tmp_path / "test.yaml")],
        save_config_callback=None, seed_everything_default=0,
    )  # fmt: skip
    (drift,) = [cb for cb in cli.trainer.callbacks if isinstance(cb, DriftEvaluation)]
    assert drift.recalibrate == ["batch_norm", "column+batch_norm"]
    assert drift.recalibration_batches == 20


@pytest.mark.parametrize(("recalibrate", "message"), [
    ("warp", "must be None or some of batch_norm, column, programming, mvm_error"),
    ("max+quantile", "at most one of mvm_error, std, quantile, cached_quantile, max"),
    ("column+column", "each once"),
    (("column", "column"), "name each combination once"),
    (("column+max", "max+column"), "name each combination once"),
    ((), None),
])  # fmt: skip
def test_impossible_methods_are_refused(recalibrate, message):
    if message is None:
        assert parse_variants(recalibrate, 20, True, []) == ()
        return
    with pytest.raises(ValueError, match=message):
        parse_variants(recalibrate, 20, True, [])


def test_callback_refuses_what_cannot_work_at_set_up():
    with pytest.raises(TypeError, match="no argument warp"):
        DriftEvaluation(warp=1)
    drift = DriftEvaluation(("1d",), 1, chance=0.0, when="fit", recalibrate="batch_norm")
    with pytest.raises(ValueError, match="Toy has none"):
        trainer(AnalogTraining(), drift, epochs=1).fit(toy(), ToyData())


def test_ranges_of_tiles_that_learn_none_are_refused():
    module = toy()
    convert_to_analog(module, TileConfig(input_range=InputRangeConfig(mode="fixed")))
    with pytest.raises(ValueError, match="no analog layer with input_range.mode 'learned'"):
        _evaluate(module, "max")


def test_suffix_names_the_methods_in_their_order():
    assert Variant(("max", "batch_norm")).suffix == "+max+bn"
    assert Variant().suffix == ""
