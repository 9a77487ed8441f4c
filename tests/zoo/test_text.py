import zipfile

import pytest
import torch

from aimc_lightning.zoo.lstm_charlm.data import SYMBOLS, PythonManualData, encode
from aimc_lightning.zoo.text import TextData, TextStreams, ZippedText
from tests.helpers.text import write_text

MEMBERS = ("train", "valid", "test")


def _read(text):
    return tuple(torch.cat(part, 1) for part in zip(*text, strict=True))


def test_streams_read_the_text_in_order_and_each_token_once():
    text = TextStreams(torch.arange(23), streams=2, steps=4)
    words, following = _read(text)
    assert words.tolist() == [list(range(10)), list(range(11, 21))]
    assert torch.equal(following, words + 1)
    assert len(text) == 3


def test_processes_read_streams_of_their_own():
    whole = _read(TextStreams(torch.arange(83), streams=4, steps=3))[0]
    parts = [
        _read(TextStreams(torch.arange(83), streams=2, steps=3, rank=rank, world_size=2))[0]
        for rank in range(2)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_text_shorter_than_its_streams_is_refused():
    with pytest.raises(ValueError, match="7 tokens are too few for 4 streams"):
        TextStreams(torch.arange(7), 2, 2, rank=1, world_size=2)


def test_pass_goes_on_where_the_state_was_taken_and_the_next_begins_anew():
    text = TextStreams(torch.arange(40), streams=2, steps=4)
    pieces = [words.tolist() for words, _ in text]
    iterator = iter(text)
    for _ in range(2):
        next(iterator)
    other = TextStreams(torch.arange(40), streams=2, steps=4)
    other.load_state_dict(text.state_dict())
    assert [words.tolist() for words, _ in other] == pieces[2:]
    assert [words.tolist() for words, _ in other] == pieces


def test_state_after_the_last_piece_is_that_of_a_new_pass():
    text = TextStreams(torch.arange(40), streams=2, steps=4)
    iterator = iter(text)
    for _ in range(len(text)):  # Lightning knows the length and asks for no further piece
        next(iterator)
    assert text.state_dict() == TextStreams(torch.arange(40), streams=2, steps=4).state_dict()


def test_abandoned_pass_does_not_move_the_next_one():
    text = TextStreams(torch.arange(40), streams=2, steps=4)
    next(iter(text))
    assert next(iter(text))[0].tolist() == [[0, 1, 2, 3], [20, 21, 22, 23]]


def test_vocabulary_follows_the_frequency_in_the_training_text(tmp_path):
    write_text(tmp_path / "t.zip", MEMBERS, words=100)
    data = ZippedText("t.zip", MEMBERS, str(tmp_path))
    data.setup("fit")
    assert list(data.vocabulary) == ["<eos>", "a", "b", "c", "d"]
    assert [len(text) for text in data.texts] == [100, 100, 100]


def test_rare_line_separators_end_no_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for member in MEMBERS:
            archive.writestr(member, "a b\x85c\n\n")
    data = ZippedText("t.zip", MEMBERS, str(tmp_path))
    data.setup("fit")
    assert data.vocabulary == {"<eos>": 0, "a": 1, "b": 2, "c": 3}
    assert [data.texts[0].tolist()] == [[1, 2, 3, 0, 0]]


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


def test_data_without_a_source_say_so():
    with pytest.raises(NotImplementedError, match="TextData has to say where its text comes from"):
        TextData(2, 4, 2).setup("fit")


def test_letters_have_fixed_numbers():
    assert encode(" ~\n\té").tolist() == [0, 94, 95, 96, 96]


def test_manual_of_python_is_split_without_shared_paragraphs(monkeypatch):
    topics = {"a": "one\n\ntwo", "b": "two\n  \nthree\n\n" + "\n\n".join(map(str, range(400)))}
    monkeypatch.setattr("aimc_lightning.zoo.lstm_charlm.data.topics", topics)
    train, val, test = PythonManualData().read_texts()
    paragraphs = ["one", "two", "three", *map(str, range(400))]
    assert torch.equal(val, encode("\n\n".join(paragraphs[160:180] + paragraphs[360:380])))
    assert torch.equal(test, encode("\n\n".join(paragraphs[180:200] + paragraphs[380:400])))
    assert torch.equal(train[:8], encode("one\n\ntwo"))


def test_manual_of_python_is_large_enough():
    data = PythonManualData()
    data.setup("fit")
    assert len(data.texts[0]) > 200_000
    assert min(len(text) for text in data.texts[1:]) > 20_000
    assert max(text.max() for text in data.texts) < SYMBOLS
