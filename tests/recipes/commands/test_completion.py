import shutil
import subprocess

import pytest

from aimc_lightning.recipes.cli import main

pytest.importorskip("shtab")


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A function that returns what bash proposes for the last of some words."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    script = tmp_path_factory.mktemp("shell") / "completion.sh"
    with pytest.MonkeyPatch.context() as patch, script.open("w") as file:
        patch.setattr("sys.stdout", file)
        main(["completion", "bash"])

    def propose(*words):
        ask = (
            f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
            '_shtab_aimc_lightning; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        result = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=False)
        return [word.strip() for word in result.stdout.splitlines()]

    return propose


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        (["ev"], "evaluate"),
        (["fi"], "fit"),
        (["evaluate", "--ch"], "--chips"),
        (["fit", "--trainer.max_ep"], "--trainer.max_epochs"),
        (["fit", "--mod"], "--model"),
        (["validate", "--ckpt"], "--ckpt_path"),
        (["fit", "--trainer.callbacks.config.adc."], "--trainer.callbacks.config.adc.bits"),
        (["fit", "--trainer.callbacks.sched"], "--trainer.callbacks.schedule.ramp"),
        (["fit", "--trainer.callbacks.config.clip.type", "gau"], "gaussian"),
    ],
)
def test_commands_options_and_choices_are_completed(words, proposed, complete):
    assert proposed in complete("aimc-lightning", *words)
