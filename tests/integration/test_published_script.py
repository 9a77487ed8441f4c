"""A training script not written for us: the transformer language model of Lightning's own examples.

Source: ``LightningTransformer`` in Lightning-AI/pytorch-lightning,
``src/lightning/pytorch/demos/transformer.py``, as installed and unchanged. It is what Lightning's
documentation trains in ``examples/pytorch/basics/transformer.py``. Only its data differ: it reads
``data/wikitext-2.txt``, which it would download, and finds a few sentences there instead.
"""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos import LightningTransformer, WikiText2

from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.nn.base import analog_layers
from tests.helpers.toy import LIGHTNING_ADVICE

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]
WORDS = 12


@pytest.fixture(autouse=True)
def text(tmp_path, monkeypatch):
    """The file that the script reads, in the working folder."""
    monkeypatch.setattr(WikiText2, "download", staticmethod(lambda destination: None))
    (tmp_path / "data").mkdir()
    sentence = " ".join(f"w{number}" for number in range(WORDS - 1))
    (tmp_path / "data" / "wikitext-2.txt").write_text(f"{sentence}\n" * 30)
    monkeypatch.chdir(tmp_path)


def _train(*callbacks):
    torch.manual_seed(0)
    model = LightningTransformer(vocab_size=WORDS)
    trainer = Trainer(
        max_steps=6, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer.fit(model)
    return model, trainer, before


def test_the_script_trains_digitally_without_the_callback():
    model, trainer, _ = _train()
    assert trainer.global_step == 6
    assert not analog_layers(model)


def test_the_callback_alone_makes_its_training_analog():
    model, trainer, before = _train(AnalogTraining())
    assert trainer.global_step == 6
    layers = analog_layers(model)
    assert "model.decoder" in layers
    assert len(layers) > 5
    assert all(not torch.equal(model.state_dict()[f"{n}.weight"], before[f"{n}.weight"])
               for n in layers if f"{n}.weight" in before)  # fmt: skip
