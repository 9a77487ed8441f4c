"""The code blocks of docs/ run."""

import math
import re

import pytest


def _run(root, name):
    (code,) = re.findall(r"```python\n(.*?)```", (root / "docs" / name).read_text(), re.DOTALL)
    names = {}
    exec(compile(code, name, "exec"), names)
    return names


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*")
def test_fabric_example_trains_an_analog_model(root, capsys):
    names = _run(root, "fabric.md")
    assert names["accuracy"] > 0.6  # three classes
    assert "after one day" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*pin_memory.*")
def test_hugging_face_example_trains_an_analog_model(root):
    pytest.importorskip("accelerate")
    pytest.importorskip("transformers")
    names = _run(root, "hf_trainer.md")
    assert names["trainer"].state.global_step == 4
    assert math.isfinite(names["scores"]["eval_loss"])
