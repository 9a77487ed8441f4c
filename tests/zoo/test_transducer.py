import itertools
from itertools import combinations

import pytest
import torch
from torch import nn

from aimc_lightning.zoo.speech import pad_utterances
from aimc_lightning.zoo.transducer import Transducer, transducer_loss


def _sum_over_alignments(likelihoods, symbols, frames):
    """Add up every order of ``frames`` blanks and the symbols; the last step is a blank."""
    steps, total = frames - 1 + len(symbols), []
    for emitting in combinations(range(steps), len(symbols)):
        t = u = 0
        path = likelihoods.new_zeros(())
        for step in range(steps):
            path = path + likelihoods[t, u, symbols[u] if step in emitting else 0]
            t, u = (t, u + 1) if step in emitting else (t + 1, u)
        total.append(path + likelihoods[t, u, 0])
    return -torch.logsumexp(torch.stack(total), 0)


@pytest.mark.parametrize(("frames", "symbols"), [(4, 3), (5, 1), (3, 0), (1, 2), (1, 0)])
def test_loss_and_gradient_equal_the_sum_over_all_alignments(frames, symbols):
    torch.manual_seed(0)
    logits = (3 * torch.randn(1, 5, 4, 5)).requires_grad_()
    targets = torch.tensor([[2, 2, 4]])
    loss = transducer_loss(logits, targets, torch.tensor([frames]), torch.tensor([symbols]))
    expected = _sum_over_alignments(
        logits[0].log_softmax(-1), targets[0, :symbols].tolist(), frames
    )
    torch.testing.assert_close(loss[0], expected)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (loss.sum(), expected)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_loss_of_a_batch_is_that_of_each_utterance():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 9, 5, 6), torch.randint(1, 6, (2, 4))
    frames, symbols = torch.tensor([9, 4]), torch.tensor([4, 2])
    alone = [
        transducer_loss(logits[i : i + 1, :t, : u + 1], targets[i : i + 1, :u], t[None], u[None])
        for i, (t, u) in enumerate(zip(frames, symbols, strict=True))
    ]
    torch.testing.assert_close(transducer_loss(logits, targets, frames, symbols), torch.cat(alone))


def test_long_unlikely_utterance_stays_exact_enough():
    torch.manual_seed(0)
    logits, targets = 8 * torch.randn(1, 200, 41, 46), torch.randint(1, 46, (1, 40))
    arguments = targets, torch.tensor([200]), torch.tensor([40])
    wide = logits.double().log_softmax(-1)
    row = torch.cat([wide.new_zeros(1), wide[0, 0, range(40), targets[0]].cumsum(0)])
    for t in range(1, 200):
        stay, emit = row + wide[0, t - 1, :, 0], wide[0, t, range(40), targets[0]]
        row = [stay[0]]
        for u in range(40):
            row.append(torch.logaddexp(stay[u + 1], row[u] + emit[u]))
        row = torch.stack(row)
    expected = -(row[40] + wide[0, 199, 40, 0]).float()
    torch.testing.assert_close(transducer_loss(logits, *arguments)[0], expected, rtol=1e-5, atol=0)


def test_logits_and_targets_have_to_fit():
    one = torch.tensor([1])
    with pytest.raises(ValueError, match=r"need targets \(1, 3\), one symbol less .* got \(1, 4\)"):
        transducer_loss(torch.zeros(1, 2, 4, 5), torch.ones(1, 4, dtype=torch.int64), one, one)


def _network(combine="add"):
    torch.manual_seed(0)
    encoder = nn.LSTM(6, 8, batch_first=True, bidirectional=True)
    return Transducer(encoder, nn.LSTM(3, 5, batch_first=True), 7, 4, combine=combine).eval()


@pytest.mark.parametrize("combine", ["add", "multiply"])
def test_wide_search_finds_the_likeliest_of_all_texts(combine):
    network = _network(combine)
    network.beam = 80
    network.output.weight.data *= 4
    network.output.bias.data[0] -= 1.0  # so that something is said
    frames = torch.tensor([3])
    for seed in range(5):
        features = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(seed))
        (found,) = network.transcribe(features, frames)
        likelihoods = {}
        for length in range(5):
            for text in itertools.product((1, 2, 3), repeat=length):
                targets = torch.tensor([text], dtype=torch.int64).view(1, length)
                logits = network(features, None, targets)
                loss = transducer_loss(logits, targets, frames, torch.tensor([length]))
                likelihoods[text] = -loss.item()
        assert tuple(found) == max(likelihoods, key=likelihoods.get)


def test_search_in_a_batch_equals_search_alone():
    network = _network()
    utterances = [(torch.randn(length, 6), torch.ones(1, dtype=torch.int64)) for length in (9, 4)]
    batch = pad_utterances(utterances)
    alone = [network.transcribe(own[None], torch.tensor([len(own)]))[0] for own, _ in utterances]
    assert network.transcribe(batch.features, batch.frames) == alone


def test_network_learns_to_spell():
    network = _network().train()
    features, targets = torch.randn(2, 8, 6), torch.tensor([[1, 3], [2, 2]])
    batch = pad_utterances(list(zip(features, targets, strict=True)))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        network.loss(batch).backward()
        optimizer.step()
    assert network.transcribe(batch.features, batch.frames) == targets.tolist()
