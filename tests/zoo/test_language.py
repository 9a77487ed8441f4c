import zipfile

import pytest
import torch

from aimc_lightning.zoo.language import (
    LanguageModule,
    LSTMLanguageModel,
    TextStreams,
    ZippedText,
)
from tests.helpers.text import write_text

MEMBERS = ("train", "valid", "test")


@pytest.fixture
def module():
    torch.manual_seed(0)
    return LanguageModule(LSTMLanguageModel(12, 8, 2, 0.0), None, 1.0).eval()


def test_streams_read_the_text_in_order_and_each_word_once():
    text = TextStreams(torch.arange(23), streams=2, steps=4)
    words, following = (torch.cat(part, 1) for part in zip(*text, strict=True))
    assert words.tolist() == [list(range(10)), list(range(11, 21))]
    assert torch.equal(following, words + 1)
    assert len(text) == 3


def test_text_shorter_than_its_streams_is_refused():
    with pytest.raises(ValueError, match="5 words are too few for 4 streams"):
        TextStreams(torch.arange(5), 4, 2)


def test_state_is_carried_so_that_pieces_do_not_matter(module):
    tokens = torch.randint(0, 12, (101,))
    likelihoods = []
    for steps in (50, 7):
        pieces = TextStreams(tokens, 2, steps)
        found = [module._read_on(piece, index)[0].view(2, -1) for index, piece in enumerate(pieces)]
        likelihoods.append(torch.cat(found, 1))
    assert torch.allclose(*likelihoods, atol=1e-6)


def test_state_begins_anew_with_each_pass(module):
    piece = TextStreams(torch.randint(0, 12, (41,)), 2, 20)[0]
    first = module._read_on(piece, 0)[0]
    module._read_on(piece, 1)
    assert torch.equal(module._read_on(piece, 0)[0], first)


def test_vocabulary_follows_the_frequency_in_the_training_text(tmp_path):
    write_text(tmp_path / "t.zip", MEMBERS, words=100)
    data = ZippedText("t.zip", MEMBERS, str(tmp_path))
    data.setup("fit")
    assert list(data.vocabulary) == ["<eos>", "a", "b", "c", "d"]
    assert [len(text) for text in data.texts] == [100, 100, 100]


def test_unknown_word_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for member, text in zip(MEMBERS, ("a b\n", "a zebra\n", "a\n"), strict=True):
            archive.writestr(member, text)
    with pytest.raises(ValueError, match="1 words of t.zip are not in its training .* 'zebra'"):
        ZippedText("t.zip", MEMBERS, str(tmp_path)).setup("fit")


@pytest.mark.parametrize("folder", [None, "nowhere"])
def test_missing_data_are_named(folder):
    with pytest.raises(FileNotFoundError, match=r"no t.zip in the data folder .* --data DIR"):
        ZippedText("t.zip", MEMBERS, folder).setup("fit")
