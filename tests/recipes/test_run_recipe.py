import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from operator import attrgetter

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.accelerators import CPUAccelerator

from aimc_lightning.config import ClipConfig
from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.recipes import stages
from aimc_lightning.recipes.catalog import list_recipes
from aimc_lightning.recipes.cli import main
from aimc_lightning.recipes.recipe import Recipe
from aimc_lightning.recipes.stages import Experiment
from tests.helpers.entries import LANGUAGE, marked

HWA_CALLBACKS = "hwa.trainer.callbacks"
PRESET = f"{HWA_CALLBACKS}.AnalogTraining.preset"
SIGMA = f"{HWA_CALLBACKS}.AnalogTraining.config.clip.sigma"


def _files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", marked(list_recipes()))
def test_every_recipe_runs_on_one_batch(name, short_run, tmp_path, capsys):
    main(short_run(name))
    run = tmp_path / "run"
    assert {"run.json", "drift.csv", "drift.json", "drift.png"} <= set(_files(run))
    assert {"digital/config.yaml", "hwa/config.yaml", "hwa/trained.ckpt"} <= set(_files(run))
    assert not [name for name in _files(run) if ".part" in name]
    digital = json.loads((run / "run.json").read_text())["stages"]["digital"]
    assert ("test_ppl" in digital["other_scores"]) == (name in LANGUAGE)
    drift = json.loads((run / "drift.json").read_text())
    assert list(drift) == ["metric", "chance", "digital", "summary"]
    assert [(row["stage"], row["t_inference_s"]) for row in drift["summary"]] == [
        (stage, time) for stage in ("direct", "hwa") for time in (1.0, 3600.0, 86400.0, 31536000.0)
    ]
    text = capsys.readouterr().out
    assert all(word in text for word in ("digital", "directly mapped", "HWA", "1 year", "A*"))


def test_resumed_run_gives_the_rows_of_an_uninterrupted_one(short_run, tmp_path, monkeypatch):
    whole = short_run("resnet8_digits")
    main(whole)
    parts = [str(tmp_path / "parts") if part == str(tmp_path / "run") else part for part in whole]
    finish = stages.RunFolder.finish_stage

    def interrupt(folder, name, result):
        if name == "hwa":  # measured, but not yet marked as done
            raise KeyboardInterrupt
        finish(folder, name, result)

    monkeypatch.setattr(stages.RunFolder, "finish_stage", interrupt)
    with pytest.raises(SystemExit) as stop:
        main(parts)
    assert stop.value.code == 130
    rows = (tmp_path / "parts" / "drift.csv").read_text().splitlines()
    (tmp_path / "parts" / "drift.csv").write_text("\n".join(rows[:-2]) + "\nhwa,0,86")
    monkeypatch.setattr(stages.RunFolder, "finish_stage", finish)
    main([*parts, "--resume"])
    assert (tmp_path / "parts" / "drift.csv").read_text() == (
        tmp_path / "run" / "drift.csv"
    ).read_text()


class _Stop(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 13:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["resnet8_digits", "lstm_charlm"])
@pytest.mark.parametrize("stage", ["digital", "hwa"])
def test_run_stopped_within_an_epoch_loses_no_batch_and_ends_the_same(
    name, stage, short_run, tmp_path, monkeypatch
):
    whole = short_run(name)
    for change in ("max_epochs=2", "limit_train_batches=10", "limit_val_batches=1"):
        whole += ["--set", f"digital.trainer.{change}", "--set", f"hwa.trainer.{change}"]
    main(whole)
    monkeypatch.setattr(stages, "SAVE_EVERY", timedelta(0))
    parts = [str(tmp_path / "parts") if part == str(tmp_path / "run") else part for part in whole]
    build = Recipe.build

    def stopping(self, at, *arguments, callbacks=(), **defaults):
        stops = [_Stop()] if at == stage else []
        return build(self, at, *arguments, callbacks=[*callbacks, *stops], **defaults)

    monkeypatch.setattr(Recipe, "build", stopping)
    with pytest.raises(SystemExit):
        main(parts)
    monkeypatch.setattr(Recipe, "build", build)
    last = torch.load(tmp_path / "parts" / stage / "last.ckpt", weights_only=True)
    assert last["global_step"] >= 12
    main([*parts, "--resume"])
    for file in ("digital/weights.safetensors", "drift.csv"):
        assert (tmp_path / "parts" / file).read_bytes() == (tmp_path / "run" / file).read_bytes()


def test_finished_run_is_only_shown_again(short_run, tmp_path, monkeypatch, capsys):
    arguments = short_run("resnet8_digits")
    main(arguments)
    monkeypatch.setattr(Experiment, "run", None)
    main([*arguments, "--resume"])
    assert "directly mapped" in capsys.readouterr().out


def test_stages_can_be_done_one_after_the_other(short_run, tmp_path):
    arguments = short_run("resnet8_digits")
    main([*arguments, "--stages", "digital"])
    assert not (tmp_path / "run" / "drift.csv").exists()
    main([*arguments, "--stages", "direct", "--resume"])
    rows = (tmp_path / "run" / "drift.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["direct"] * 4


def test_digital_score_is_taken_in_the_precision_of_the_chips(short_run, tmp_path):
    main([*short_run("lstm_charlm"), "--set", "digital.trainer.precision=bf16-mixed"])
    weights = str(tmp_path / "run" / "digital" / "weights.safetensors")
    alone = ["run", "lstm_charlm", "--weights", weights, "--out", str(tmp_path / "alone")]
    main([*alone, "--stages", "digital", "--set", "drift.trainer.limit_test_batches=1"])
    first, second = (
        json.loads((tmp_path / name / "run.json").read_text())["stages"]["digital"]
        for name in ("run", "alone")
    )
    assert (first["trained"], second["trained"]) == (True, False)
    assert first["other_scores"] == second["other_scores"]  # the perplexity, which shows rounding


def test_run_shows_what_helps_without_training_and_goes_on_with_it(short_run, tmp_path, capsys):
    arguments = [*short_run("resnet8_digits"), "--recalibrate", "batch_norm"]
    main([*arguments, "--stages", "digital", "direct"])
    rows = (tmp_path / "run" / "drift.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["direct"] * 4 + ["direct+bn"] * 4
    assert "direct+bn" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match=r"recalibrate \['batch_norm'\] instead of None"):
        main([*short_run("resnet8_digits"), "--resume"])


def _error(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet9"], "unknown recipe 'resnet9': known are "),
        (["resnet8_digits", "--chips", "0"], "--chips must be at least 1, got 0"),
        (["resnet8_digits", "--seed", "-1"], "--seed must be between 0 and 2**32 - 1, got -1"),
        (["resnet8_digits", "--data", "."], "brings its own data: leave --data out"),
        (["resnet8_digits", "--weights", "no.st"], "--weights 'no.st' is not a file"),
        (["resnet8_digits", "--set", "hwa"], "not of the form STAGE.KEY=VALUE"),
        (["resnet8_digits", "--set", "train.x=1"], "the stages are digital, hwa, drift"),
        (["resnet8_digits", "--set", f"{HWA_CALLBACKS}.Clip.x=1"], "it has AnalogTraining."),
        (["resnet8_digits", "--set", f"{HWA_CALLBACKS}.AnalogTraining=1"], "of the form hwa.trai"),
        (["resnet8_digits", "--set", f"{PRESET}.x=1"], "holds 'standard_pcm', which has no keys"),
        (
            ["resnet8_digits", "--set", f"{SIGMA}=-1"],
            "sigma must be a finite number at least 1e-06, got -1",
        ),
        (
            ["resnet8_digits", "--set", f"{HWA_CALLBACKS}.AnalogTraining.config.adc.bits=6"],
            "other tiles than 'drift' measures; give --set of AnalogTraining for both. The tile "
            "config of layer 'network.conv1' differs from the checkpoint's: adc.bits was 6 and is",
        ),
        (["minilm_glue"], "one with --task, of cola, mrpc, rte, sst2, stsb"),
        (["minilm_glue", "--task", "qqp"], "entry 'minilm_glue' has no task 'qqp': its tasks are"),
        (["resnet32_cifar10", "--data", "nowhere"], "--data 'nowhere' is not a folder"),
    ],
)
def test_wrong_usage_is_named_and_nothing_written(arguments, message, tmp_path, capsys):
    code, text = _error(["run", *arguments, "--out", str(tmp_path / "run")], capsys)
    assert code == 1
    assert text.startswith("error: ")
    assert message in text
    assert not (tmp_path / "run").exists()


def test_unknown_setting_is_named_and_nothing_written(tmp_path, capsys):
    arguments = ["run", "resnet8_digits", "--out", str(tmp_path / "run")]
    code, text = _error([*arguments, "--set", "hwa.trainer.max_epoch=1"], capsys)
    assert code == 2
    assert "max_epoch" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("input_range.decay", "1e-4", 1e-4),
        ("input_range.init_times_s", "[0, 3600]", (0, 3600)),
        ("clip", "{type: gaussian, sigma: 2}", ClipConfig("gaussian", 2.0)),
        ("weight_noise.type", "device", "device"),
        ("adc.bits", "null", None),
    ],
)
def test_values_of_callbacks_are_read_as_json_or_yaml(key, value, expected, tmp_path):
    settings = (f"{HWA_CALLBACKS}.AnalogTraining.config.{key}={value}",)
    cli = Recipe("resnet8_digits", settings=settings).build("hwa", tmp_path)
    found = next(one for one in cli.trainer.callbacks if isinstance(one, AnalogTraining))
    assert attrgetter(key)(found.tile_config) == expected


def test_run_takes_one_device_of_many(monkeypatch, tmp_path):
    monkeypatch.setattr(CPUAccelerator, "auto_device_count", staticmethod(lambda: 4))
    cli = Recipe("resnet8_digits").build("hwa", tmp_path)
    assert (cli.trainer.num_devices, type(cli.trainer.strategy).__name__) == (
        1,
        "SingleDeviceStrategy",
    )


@pytest.mark.parametrize("strategy", ["auto", "ddp", "aimc_ddp"])
def test_strategy_that_starts_the_command_again_is_refused(strategy, tmp_path, capsys):
    arguments = ["run", "resnet8_digits", "--out", str(tmp_path / "run")]
    arguments += ["--set", "hwa.trainer.devices=2", "--set", f"hwa.trainer.strategy={strategy}"]
    code, text = _error(arguments, capsys)
    assert code == 1
    assert "starts this command again" in text
    assert "--set hwa.trainer.strategy=aimc_ddp_spawn" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:Grad strides do not match")  # of any DDP with this network
def test_stage_runs_on_two_devices(short_run, tmp_path, capsys):
    changes = ["--set", "hwa.trainer.devices=2"]
    changes += ["--set", "hwa.trainer.strategy=aimc_ddp_fork"]
    main([*short_run("resnet8_digits"), *changes])
    assert "HWA" in capsys.readouterr().out
    assert (tmp_path / "run" / "hwa" / "trained.ckpt").is_file()


def test_setting_of_a_callback_changes_it_and_nothing_else(tmp_path):
    plain = Recipe("resnet8_digits").build("hwa", tmp_path)
    changed = Recipe("resnet8_digits", settings=(f"{SIGMA}=2", "hwa.trainer.max_epochs=3")).build(
        "hwa", tmp_path
    )
    assert changed.trainer.max_epochs == 3
    before, after = ([type(one) for one in cli.trainer.callbacks] for cli in (plain, changed))
    assert before == after
    configs = [
        next(one for one in cli.trainer.callbacks if isinstance(one, AnalogTraining)).tile_config
        for cli in (plain, changed)
    ]
    assert configs[1] == replace(configs[0], clip=replace(configs[0].clip, sigma=2.0))
    assert configs[1] != configs[0]


def test_settings_are_checked_with_given_weights_instead_of_pretrained_ones(tmp_path, monkeypatch):
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    built = {}
    monkeypatch.setattr(
        Recipe, "build", lambda self, stage, folder, *given: built.update({stage: given})
    )
    settings = ("digital.trainer.max_epochs=1", "drift.trainer.limit_test_batches=1")
    Recipe("bert_base_glue", weights=weights, settings=settings).check_settings(tmp_path)
    assert built == {"digital": ("--model.init_args.weights", str(weights)), "drift": ()}


def test_stage_without_its_foundation_is_refused(tmp_path, capsys):
    arguments = ["run", "resnet8_digits", "--out", str(tmp_path / "run"), "--stages", "hwa"]
    code, text = _error(arguments, capsys)
    assert code == 1
    assert "builds on 'digital', which is not done" in text
    assert not (tmp_path / "run").exists()


def _start(arguments):
    command = [sys.executable, "-m", "aimc_lightning.recipes", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("stage", ["digital", "hwa"])
def test_run_stopped_in_the_middle_of_training_ends_the_same(stop, stage, short_run, tmp_path):
    whole = [*short_run("resnet8_digits"), "--set", "digital.trainer.max_epochs=6"]
    whole += ["--set", "hwa.trainer.max_epochs=6", "--set", "hwa.trainer.limit_train_batches=1.0"]
    process = _start(whole)
    assert "HWA trained" in process.communicate()[0]
    parts = [str(tmp_path / "parts") if part == str(tmp_path / "run") else part for part in whole]
    process = _start(parts)
    while not (tmp_path / "parts" / stage / "last.ckpt").is_file():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(stop)
    text = process.communicate()[0]
    assert process.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL)
    assert "to continue: aimc-lightning run" in text or stop == signal.SIGKILL
    process = _start([*parts, "--resume"])
    assert "continuing from" in process.communicate()[0]
    assert process.returncode == 0
    for name in ("drift.csv", "drift.json"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "run" / name).read_text()
