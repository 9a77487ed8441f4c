from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from aimc_lightning.integration.callback import AnalogTraining
from aimc_lightning.zoo.language import LanguageModule, LSTMLanguageModel
from aimc_lightning.zoo.text import TextData, TextStreams
from tests.helpers.toy import LIGHTNING_ADVICE, NOISY, SaveOften, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


class Letters(TextData):
    """Random tokens."""

    def __init__(self, batch_size=2):
        super().__init__(batch_size, steps=5, eval_batch_size=3)

    def read_texts(self):
        generator = torch.Generator().manual_seed(0)
        return [torch.randint(0, 12, (size,), generator=generator) for size in (84, 40, 40)]


@pytest.fixture
def module():
    return _module().eval()


def _module(dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LanguageModule(LSTMLanguageModel(12, 8, 2, dropout), None, 1.0)


def test_state_is_carried_so_that_pieces_do_not_matter(module):
    tokens = torch.randint(0, 12, (101,))
    likelihoods = []
    for steps in (50, 7):
        pieces = TextStreams(tokens, 2, steps)
        found = [module._read_on(p, i, "eval")[0].view(2, -1) for i, p in enumerate(pieces)]
        likelihoods.append(torch.cat(found, 1))
    assert torch.allclose(*likelihoods, atol=1e-6)


def test_state_begins_anew_with_each_pass(module):
    piece = next(iter(TextStreams(torch.randint(0, 12, (41,)), 2, 20)))
    first = module._read_on(piece, 0, "eval")[0]
    module._read_on(piece, 1, "eval")
    assert torch.equal(module._read_on(piece, 0, "eval")[0], first)


def test_scores_are_those_of_the_whole_text(module):
    data = Letters()
    run = trainer()
    logged = run.test(module, data, verbose=False)[0]
    tokens = data.texts[2][:39].view(3, 13)
    logits = module(tokens[:, :-1])
    nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    assert logged["test_ppl"] == pytest.approx(nll.exp().item(), rel=1e-5)
    hits = logits.argmax(-1) == tokens[:, 1:]
    assert logged["test_acc"] == pytest.approx(hits.float().mean().item())


def test_validation_inside_an_epoch_does_not_disturb_the_training_text():
    with_validation, without = _module(), _module()
    trainer(epochs=1, val_check_interval=3).fit(with_validation, Letters())
    trainer(epochs=1, limit_val_batches=0).fit(without, Letters())
    for left, right in zip(with_validation.parameters(), without.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("analog", [False, True])
def test_run_resumed_inside_an_epoch_is_the_uninterrupted_one(analog, tmp_path):
    # Dropout needs the random numbers, which AnalogTraining restores.
    callbacks = [AnalogTraining(config=NOISY)] if analog else []
    steps = {"max_steps": 1000 if analog else -1}  # Lightning alone loses an epoch with it
    whole = _module(0.3 if analog else 0.0)
    trainer(*callbacks, SaveOften(tmp_path, ("batch", "epoch")), **steps).fit(whole, Letters())
    files = sorted(tmp_path.glob("*.ckpt"))
    assert len(files) == 2 * 9 + 2
    for file in (files[3], files[9], files[12]):
        callbacks = [AnalogTraining(config=NOISY)] if analog else []
        resumed = _module(0.3 if analog else 0.0)
        trainer(*callbacks, **steps).fit(resumed, Letters(), ckpt_path=file, weights_only=True)
        for left, right in zip(whole.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(left, right), file


class Seen(Callback):
    """Writes down which text each process trains on, and what it scored."""

    def __init__(self, folder: Path):
        self.folder = folder

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        torch.save(batch[0], self.folder / f"{trainer.global_rank}-{batch_idx}.pt")

    def on_validation_end(self, trainer, pl_module):
        score = trainer.callback_metrics["val_ppl"]
        torch.save(score, self.folder / f"score-{trainer.global_rank}.pt")


def test_two_processes_read_parts_of_their_own_and_score_the_whole_text(tmp_path):
    run = trainer(Seen(tmp_path), strategy="ddp_fork", devices=2, epochs=1)
    run.fit(_module(), Letters(batch_size=1))
    pieces = [list(tmp_path.glob(f"{rank}-*.pt")) for rank in range(2)]
    assert [len(part) for part in pieces] == [9, 9]
    seen = [
        torch.cat([torch.load(tmp_path / f"{rank}-{i}.pt") for i in range(9)], 1)
        for rank in range(2)
    ]
    expected = [batch for batch, _ in TextStreams(Letters().read_texts()[0], 2, 5)]
    assert torch.equal(torch.cat(seen), torch.cat(expected, 1))
    assert torch.load(tmp_path / "score-0.pt") == torch.load(tmp_path / "score-1.pt")


def test_checkpoint_of_two_processes_holds_the_text_state_of_both(tmp_path):
    run = trainer(SaveOften(tmp_path, ("batch",)), strategy="ddp_fork", devices=2, epochs=1)
    run.fit(_module(), Letters(batch_size=1))
    file = sorted(tmp_path.glob("*.ckpt"))[3]
    state = torch.load(file)["text_state"]
    assert state.shape == (2, 2, 2, 1, 8)
    assert not torch.equal(state[0], state[1])
    with pytest.warns(UserWarning, match="state of 2 processes, this run has 1: the running epoch"):
        trainer(epochs=1).fit(_module(), Letters(), ckpt_path=file, weights_only=True)
