import pytest
import torch

pytest.importorskip("datasets")

from aimc_lightning.zoo.feature_files import cut_pieces
from aimc_lightning.zoo.lstm_hmm_swb300.data import SwitchboardStates
from aimc_lightning.zoo.rnnt_swb300.data import SwitchboardCharacters
from tests.helpers.speech import write_features


def test_utterances_come_in_pieces_with_a_state_for_each_frame(tmp_path):
    write_features(tmp_path / "swb300_hmm", 140, range(32_000), per_frame=True)
    data = SwitchboardStates(str(tmp_path), str(tmp_path / "cache"))
    data.setup("test")
    features, states = next(iter(data.test_dataloader()))
    assert features.shape == (5, 21, 140)  # utterances of 42 and 63 frames
    assert states.shape == (5, 21)
    assert (features.dtype, states.dtype) == (torch.float32, torch.int64)


def test_utterances_are_padded_with_their_characters(tmp_path):
    write_features(tmp_path / "swb300_rnnt", 340, range(1, 46), per_frame=False)
    data = SwitchboardCharacters(str(tmp_path), str(tmp_path / "cache"))
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.features.shape == (2, 63, 340)
    assert sorted(batch.frames.tolist()) == [42, 63]
    assert batch.targets.min() >= 1


def test_rest_of_an_utterance_is_dropped():
    features, labels = torch.arange(7.0).view(7, 1), torch.arange(7)
    pieces, states = cut_pieces([(features, labels)], 3)
    assert states.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert torch.equal(pieces.squeeze(-1), states.float())


def test_symbols_have_to_match_frames():
    with pytest.raises(ValueError, match="7 frames need as many symbols, got 6"):
        cut_pieces([(torch.zeros(7, 1), torch.zeros(6))], 3)


def test_missing_data_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no swb300_hmm/test-\*.parquet in .* --data DIR"):
        SwitchboardStates(str(tmp_path)).setup("test")


def test_wrong_width_is_named(tmp_path):
    write_features(tmp_path / "swb300_hmm", 40, range(9), per_frame=True)
    data = SwitchboardStates(str(tmp_path), str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"shape \(42, 40\); it must be \(frames, 140\)"):
        data.setup("test")
