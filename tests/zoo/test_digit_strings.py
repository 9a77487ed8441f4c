import itertools

import pytest
import torch

pytest.importorskip("pyarrow")

from aimc_lightning.zoo.digit_strings import (
    DigitStrings,
    Recording,
    SpokenDigits,
    join,
    load_recordings,
    plan_strings,
)
from aimc_lightning.zoo.speech_augmentation import change_speed, mask
from tests.helpers.speech import write_spoken_digits


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_spoken_digits(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def data(folder):
    module = SpokenDigits(str(folder), batch_size=4)
    module.setup("fit")
    module.setup("test")
    return module


def test_every_recording_occurs_once_in_each_pass_and_strings_keep_to_one_speaker():
    speakers = ["ann"] * 50 + ["bob"] * 50
    strings = plan_strings(speakers, 2, _generator())
    assert sorted(number for string in strings for number in string) == sorted([*range(100)] * 2)
    assert all(len({speakers[number] for number in string}) == 1 for string in strings)
    assert sorted(len(string) for string in strings) == sorted([3, 4, 5, 6, 7] * 8)


@pytest.mark.parametrize(
    ("share", "low", "high"), [(0.0, 0.0, 0.2), (0.5, 0.45, 0.65), (1.0, 1, 1)]
)
def test_share_of_digits_is_the_one_before_by_another_take(data, share, low, high):
    recordings = data.train.recordings
    strings = DigitStrings(recordings, seed=1, passes=5, repeats=share).strings()
    pairs = [(recordings[a], recordings[b]) for s in strings for a, b in itertools.pairwise(s)]
    assert all(a.speaker == b.speaker for a, b in pairs)
    assert low <= sum(a.digit == b.digit for a, b in pairs) / len(pairs) <= high
    assert len({number for string in strings for number in string}) > len(recordings) / 2


def test_parts_share_no_take(folder, data):
    takes = {r.take for r in data.train.recordings}
    assert takes == {10, 11, 12}
    assert {r.take for r in load_recordings("test", str(folder))} == {0}
    assert sum(len(symbols) for _, symbols in data.val) == 20
    assert sum(len(symbols) for _, symbols in data.test) == 2 * 20


def test_string_is_its_takes_with_pauses(data):
    strings = DigitStrings(data.train.recordings, seed=1)
    parts = [data.train.recordings[number] for number in strings.strings()[0]]
    features, symbols = strings[0]
    assert symbols.tolist() == [part.digit + 1 for part in parts]
    samples = sum(len(part.samples) for part in parts)
    assert samples <= 400 * len(features) + 400
    assert 400 * len(features) <= samples + 1200 * (len(parts) + 1) + 80
    assert features.shape[1] == 200


def test_pauses_lie_around_every_take():
    parts = [torch.ones(10), torch.full((5,), 2.0)]
    joined = join(parts, _generator())
    assert joined[joined > 0].tolist() == [1.0] * 10 + [2.0] * 5
    assert joined[0] == joined[-1] == 0


def _epoch(data, seed, epoch):
    train = DigitStrings(data.train.recordings, seed=seed, augment=True)
    train.epoch = epoch
    return [train[index] for index in range(len(train))]


def test_same_seed_and_epoch_give_the_same_strings(data):
    for (features, symbols), (again, symbols_again) in zip(
        _epoch(data, 1, 2), _epoch(data, 1, 2), strict=True
    ):
        assert torch.equal(features, again)
        assert torch.equal(symbols, symbols_again)


@pytest.mark.parametrize("other", [(1, 1), (2, 0)])
def test_other_seed_or_epoch_gives_other_strings(data, other):
    first, second = _epoch(data, 1, 0), _epoch(data, *other)
    assert len(first) == len(second)
    assert [s.tolist() for _, s in first] != [s.tolist() for _, s in second]


def test_loader_tells_the_strings_their_epoch(data):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(3)
    assert data.train.epoch == 3
    assert sum(len(batch.frames) for batch in loader) == len(data.train)


def test_evaluation_strings_do_not_depend_on_the_seed(folder, data):
    other = SpokenDigits(str(folder), seed=7)
    other.setup("test")
    assert all(torch.equal(a[0], b[0]) for a, b in zip(data.test, other.test, strict=True))


def test_speed_changes_the_length_by_a_tenth_at_most():
    lengths = [len(change_speed(torch.randn(1000), _generator(seed))) for seed in range(50)]
    assert 909 <= min(lengths) < 950 < 1050 < max(lengths) <= 1111


def test_mask_sets_stretches_to_zero_and_leaves_the_input():
    features = torch.ones(50, 40)
    masked = mask(features, _generator(), count=1, width=8)
    assert (features == 1).all()
    silent, bands = (masked == 0).all(1).sum(), (masked == 0).all(0).sum()
    assert (masked == 0).sum() == silent * 40 + bands * 50 - silent * bands
    assert 0 < silent + bands <= 16


def test_empty_data_set_is_an_error():
    with pytest.raises(ValueError, match="the data set is empty"):
        DigitStrings([], seed=0)


@pytest.mark.parametrize("where", [None, "nowhere"])
def test_missing_data_are_named(where):
    with pytest.raises(FileNotFoundError, match=r"no fsdd/test.parquet in .* --data DIR"):
        load_recordings("test", where)


def test_truncated_file_is_named(folder, tmp_path):
    (tmp_path / "fsdd").mkdir()
    content = (folder / "fsdd" / "test.parquet").read_bytes()
    (tmp_path / "fsdd" / "test.parquet").write_bytes(content[:-50])
    with pytest.raises(ValueError, match="cannot read spoken digits from .*truncated"):
        load_recordings("test", str(tmp_path))


def test_recording_keeps_its_waveform(folder):
    recordings = load_recordings("test", str(folder))
    assert isinstance(recordings[0], Recording)
    assert recordings[0].samples.shape == (1600,)
    assert recordings[0].samples.abs().max() == pytest.approx(8000 / 32768, rel=0.01)
