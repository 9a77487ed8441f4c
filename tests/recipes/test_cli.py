import json
import re
import shlex
import subprocess
import sys

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from aimc_lightning.checkpoint import METADATA_KEY, analog_metadata
from aimc_lightning.recipes import cli, sizes
from aimc_lightning.recipes.catalog import list_recipes, recipe_files
from aimc_lightning.recipes.cli import main
from aimc_lightning.recipes.lightning_cli import AimcCLI
from aimc_lightning.zoo.pretrained import from_pretrained
from tests.helpers.entries import marked
from tests.helpers.toy import LIGHTNING_ADVICE


@pytest.mark.parametrize("stage", ["digital", "hwa"])
@pytest.mark.parametrize("name", marked(list_recipes()))
def test_every_recipe_fits_one_batch_through_lightning_cli(name, stage, data, pretrained, tmp_path):
    pretrained(name)
    arguments = [f"--data.init_args.{key}={value}" for key, value in data[name].items()]
    main(
        [
            "fit",
            "--config",
            str(recipe_files(name)[stage]),
            "--trainer.fast_dev_run=true",
            f"--trainer.default_root_dir={tmp_path}",
            *arguments,
        ]
    )


@pytest.mark.filterwarnings(*LIGHTNING_ADVICE)
def test_drift_yaml_measures_the_checkpoint_of_a_run(tmp_path, caplog):
    pytest.importorskip("sklearn")
    module = from_pretrained("resnet8_digits")
    trainer = Trainer(accelerator="cpu", logger=False, barebones=True, max_epochs=0)
    trainer.strategy.connect(module)
    state = trainer._checkpoint_connector.dump_checkpoint(weights_only=True)
    state[METADATA_KEY] = analog_metadata(module)
    torch.save(state, tmp_path / "trained.ckpt")
    content = recipe_files("resnet8_digits")["drift"].read_text()
    assert "chips: 25 " in content
    (tmp_path / "drift.yaml").write_text(content.replace("chips: 25 ", "chips: 1 "))
    with caplog.at_level("INFO", "lightning.pytorch.utilities.rank_zero"):
        main(
            [
                "test",
                f"--config={tmp_path / 'drift.yaml'}",
                f"--ckpt_path={tmp_path / 'trained.ckpt'}",
                f"--trainer.default_root_dir={tmp_path}",
            ]
        )
    (line,) = [line for line in caplog.text.splitlines() if line.split()[:3] == ["hwa", "1", "s"]]
    assert 0.98 < float(line.split()[4]) < 1


def test_list_shows_every_recipe(capsys):
    main(["list"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    shown = [line.split()[1] for line in lines if line.startswith("│")]
    assert [word for word in shown if word in list_recipes()] == list_recipes()


def test_list_is_read_by_programs(capsys):
    main(["list", "--json"])
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == list_recipes()


def test_list_builds_no_network(monkeypatch, capsys):
    monkeypatch.setattr(sizes, "measure_size", None)
    main(["list"])
    assert "wideresnet50_imagenet" in capsys.readouterr().out


def test_help_names_every_command():
    command = [sys.executable, "-m", "aimc_lightning.recipes", "--help"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert all(name in text for name in ("list", "run", "fit", "validate", "test", "predict"))


def test_without_a_command_the_usage_is_shown(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "usage: aimc-lightning" in capsys.readouterr().err


def _built(*arguments):
    files = recipe_files("resnet8_digits")
    return AimcCLI(["--config", str(files["hwa"]), *arguments], run=False)


def test_optimizer_trains_what_exists_when_the_trainer_asks():
    cli = _built()
    cli.model.late = torch.nn.Parameter(torch.zeros(1))
    settings = cli.model.configure_optimizers()
    trained = [p for group in settings["optimizer"].param_groups for p in group["params"]]
    assert any(parameter is cli.model.late for parameter in trained)


def test_step_schedules_are_counted_in_steps():
    scheduler = "--lr_scheduler=torch.optim.lr_scheduler.OneCycleLR"
    cli = _built(scheduler, "--lr_scheduler.max_lr=0.1", "--lr_scheduler.total_steps=5")
    assert cli.model.configure_optimizers()["lr_scheduler"]["interval"] == "step"


def test_epoch_schedules_are_counted_in_epochs():
    assert "interval" not in _built().model.configure_optimizers()["lr_scheduler"]


def test_without_optimizer_the_module_keeps_its_own(tmp_path):
    text = recipe_files("resnet8_digits")["digital"].read_text()
    (tmp_path / "own.yaml").write_text(text.split("optimizer:")[0])
    cli = AimcCLI(["--config", str(tmp_path / "own.yaml")], run=False)
    assert isinstance(cli.model, LightningModule)
    assert isinstance(cli.model.configure_optimizers(), torch.optim.Adam)


def _help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("module", cli._COMMANDS, ids=lambda module: module.NAME)
def test_help_has_a_sentence_and_an_example_that_is_understood(module, capsys):
    text = _help(module.NAME, capsys)
    assert "``" not in text
    (example,) = re.findall(rf"example:.*?(aimc-lightning {module.NAME}.*?)(?:\. |\)|$)", text)
    arguments = cli._parser().parse_args(shlex.split(example.removesuffix("."))[1:])
    assert arguments.execute is module.execute


@pytest.mark.parametrize("name", cli._LIGHTNING)
def test_help_of_lightning_has_an_example(name, capsys):
    assert f"example: aimc-lightning {name} --config FILE" in _help(name, capsys)
