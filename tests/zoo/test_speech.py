import math

import pytest
import torch
from torch import nn

from aimc_lightning.zoo.speech import (
    SpeechModule,
    log_mel,
    mel_filters,
    pad_utterances,
    run_lstm,
    stack_frames,
)


def test_tone_is_loudest_in_the_band_of_its_frequency():
    sound = torch.zeros(8000)
    sound[4000:] = torch.sin(2 * math.pi * 1000 * torch.arange(4000) / 8000)
    features = log_mel(sound, 8000, 40)
    points = torch.fft.rfftfreq(512, 1 / 8000)
    centres = (mel_filters(40, 512, 8000) * points).sum(1) / mel_filters(40, 512, 8000).sum(1)
    assert features.shape == (101, 40)
    rise = features[60:90].mean(0) - features[10:40].mean(0)
    nearest = (centres - 1000).abs().argmin()
    assert rise[nearest] == pytest.approx(rise.max().item(), abs=0.05)


def test_every_mel_band_hears_something():
    filters = mel_filters(40, 512, 8000)
    assert filters.shape == (40, 257)
    assert (filters.sum(1) > 0.5).all()
    assert filters.max() <= 1


def test_level_of_a_waveform_does_not_matter():
    sound = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_mel(sound, 8000, 40), log_mel(0.01 * sound, 8000, 40))


def test_each_band_has_mean_0_and_deviation_1():
    features = log_mel(torch.randn(4000, generator=torch.Generator().manual_seed(0)), 8000, 40)
    torch.testing.assert_close(features.mean(0), torch.zeros(40), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.std(0), torch.ones(40))


def test_silence_gives_finite_features():
    assert log_mel(torch.zeros(800), 8000, 40).isfinite().all()


def test_neighbouring_frames_are_stacked():
    features = torch.arange(14.0).view(7, 2)
    assert stack_frames(features, 3).tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_batch_is_padded_with_zeros():
    batch = pad_utterances(
        [(torch.ones(2, 3), torch.tensor([4])), (torch.ones(5, 3), torch.tensor([1, 2]))]
    )
    assert batch.features.sum(dim=(1, 2)).tolist() == [6, 15]
    assert batch.frames.tolist() == [2, 5]
    assert batch.targets.tolist() == [[4, 0], [1, 2]]
    assert batch.symbols.tolist() == [1, 2]


def test_lstm_does_not_see_what_lies_behind_the_end():
    lstm = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
    features = torch.randn(2, 6, 3)
    out = run_lstm(lstm, features, torch.tensor([6, 2]))
    torch.testing.assert_close(out[1, :2], lstm(features[1, :2])[0])
    assert out.shape == (2, 6, 8)
    assert (out[1, 2:] == 0).all()


class _Parrot(nn.Module):
    def transcribe(self, features, frames):
        return [[2, 1, 3], [4]]


BATCH = pad_utterances(
    [(torch.zeros(1, 1), torch.tensor([2, 1, 4])), (torch.zeros(1, 1), torch.tensor([4]))]
)


@pytest.mark.parametrize(("space", "error"), [(None, 1 / 4), (1, 1 / 3)])
def test_error_rate_counts_symbols_or_the_words_between_spaces(space, error):
    module = SpeechModule(_Parrot(), None, 0.1, space=space)
    value = module.test_wer(module.predict_step(BATCH, 0), module.spoken(BATCH))
    assert value == pytest.approx(error)
