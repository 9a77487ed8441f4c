"""The page of conclusions says what the measurements beside the benchmark say."""

import json

import pytest

from docs.tools.conclusions import GROUPS, loss, page

_HEADER = "name,acts_on,criterion,standard,tolerated,upper,limit_at,std,drop_at_mvm"


def _write(folder, drops):
    amounts = {"dac_bits": 5, "ir_drop": 100, "programming_noise": 2.5}
    names = [*drops, "ir_drop", "stuck_zero", "stuck_random"]
    lines = [_HEADER]
    for name in names:
        lines.append(f"{name},x,mvm_error,0,1,2,1.5,0.1,{drops.get(name, 0.0)}")
        upper = "inf" if name == "ir_drop" else 200
        lines.append(f"{name},x,iso_accuracy,0,{amounts.get(name, 0.01)},{upper},1.5,0.1,nan")
    path = folder / "benchmarks" / "conclusions" / "resnet8_digits.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("outputs", "verdict"), [(0.05, "yes | **no**"), (0.001, "**no** | **no**")]
)
def test_page_says_whether_a_conclusion_holds(tmp_path, outputs, verdict):
    drops = {name: 0.002 for group in GROUPS.values() for name in group}
    drops |= dict.fromkeys(GROUPS["outputs"], outputs)
    _write(tmp_path, drops)
    text = page(tmp_path)
    assert f"| `resnet8_digits` | 0.20 | {100 * outputs:.2f} | 0.20 | {verdict} |" in text
    assert "| 2.50 | 3 | 0.01 | >= 100 | 1.00% | 1.00% |" in text


def test_page_shows_what_was_spared(tmp_path):
    path = tmp_path / "benchmarks" / "conclusions" / "resnet8_digits.spared.json"
    path.parent.mkdir(parents=True)
    outcome = {"layers": ["stem"], "share": 0.031, "before": 0.98, "after": 0.992, "sets": 9}
    path.write_text(json.dumps({"noise": 4.0, **outcome}))
    row = "| `resnet8_digits` | 4 x | 98.00% | 3.1% | 99.20% | stem | 9 |"
    assert row in page(tmp_path)


def test_loss_leaves_out_what_does_not_reach_the_error():
    rows = {(name, "mvm_error"): {"drop_at_mvm": "nan"} for name in GROUPS["inputs"]}
    rows["dac_bits", "mvm_error"]["drop_at_mvm"] = "0.25"
    assert loss(rows, "inputs") == 0.25
