"""Every golden file passes, and the runner refuses what it does not know."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.golden.compare import Moments, converted, exact
from tests.golden.runner import FAMILIES, evaluate_file, golden_files

FOLDER = Path(__file__).resolve().parent
FILES = golden_files(FOLDER)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_library_agrees_with_golden_file(path):
    report = evaluate_file(path)
    assert report.passed, report.line()


def test_all_25_families_have_a_file():
    assert {evaluate.rsplit("_", 1)[0] for evaluate in (path.stem for path in FILES)} == set(
        FAMILIES
    )
    assert len(FAMILIES) == 25


def _changed(tmp_path: Path, name: str, *, config: dict | None = None, **arrays) -> Path:
    """Write a copy of a golden file with other settings or arrays."""
    with np.load(FOLDER / name) as data:
        content = {key: data[key] for key in data.files}
    settings = {**json.loads(str(content["config"])), **(config or {})}
    path = tmp_path / name
    np.savez(path, **{**content, **arrays, "config": json.dumps(settings)})
    return path


def test_a_wrong_golden_value_fails(tmp_path):
    with np.load(FOLDER / "conductance_single_00.npz") as data:
        wrong = data["g"] * np.float32(1.0001)
    report = evaluate_file(_changed(tmp_path, "conductance_single_00.npz", g=wrong))
    assert not report.passed


def test_another_setting_changes_the_verdict(tmp_path):
    path = _changed(tmp_path, "pcm_prog_00.npz", config={"prog_noise_scale": 1.1})
    assert not evaluate_file(path).passed


def test_unknown_setting_is_refused(tmp_path):
    path = _changed(tmp_path, "pcm_prog_00.npz", config={"colour": "blue"})
    assert evaluate_file(path).problem == "refused: unknown settings or arrays: colour"


def test_unknown_value_of_a_setting_is_refused(tmp_path):
    path = _changed(tmp_path, "input_quant_00.npz", config={"tie_rule": "up"})
    assert "tie_rule is 'up'" in evaluate_file(path).problem


def test_nan_in_golden_values_fails(tmp_path):
    wrong = np.full((20, 50), np.nan, dtype=np.float32)
    assert not evaluate_file(_changed(tmp_path, "weight_clip_00.npz", w_clipped=wrong)).passed


def test_one_tie_in_a_thousand_may_be_one_step_off():
    golden = np.zeros(1000)
    golden[0] = 1.0
    ours = golden.copy()
    ours[7] = 0.1
    assert converted("y", ours, golden, 0.1).ratio == 0.0
    assert converted("y", ours, golden, 0.05).ratio > 1.0  # two steps are no tie
    ours[8] = 0.1
    assert converted("y", ours, golden, 0.1).ratio > 1.0  # two elements are too many


def test_exact_deviation_is_relative_to_the_largest_value():
    assert exact("y", np.array([1e-6, 2.0]), np.array([0.0, 2.0])).deviation == pytest.approx(5e-7)


def test_mean_is_compared_in_standard_errors():
    draws = np.array([[-1.0], [1.0]] * 5000)
    check = Moments.of(draws).mean_check("y", np.array([0.1]), 10_000)
    assert check.deviation == pytest.approx(0.1 / np.sqrt(2e-4), rel=1e-3)


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.golden", str(folder)]
    return subprocess.run(
        command, cwd=FOLDER.parent.parent, capture_output=True, text=True, check=False
    )


def test_command_prints_one_line_per_file_and_fails_on_unknown_families(tmp_path):
    (tmp_path / "conductance_dual_00.npz").write_bytes(
        (FOLDER / "conductance_dual_00.npz").read_bytes()
    )
    good = _run(tmp_path)
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "1 of 1 files pass")
    (tmp_path / "conductance_dual_00.npz").rename(tmp_path / "magnetism_00.npz")
    bad = _run(tmp_path)
    assert bad.returncode == 1
    assert "unknown family" in bad.stdout


def test_command_fails_on_an_empty_folder(tmp_path):
    assert _run(tmp_path).returncode == 1
