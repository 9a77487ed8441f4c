"""The tests of the GPU kernels, interpreted where there is no GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="test_fused_gpu.py itself runs")
def test_kernels_pass_their_tests_under_the_interpreter():
    pytest.importorskip("triton")
    # The interpreter of Triton 3.2 makes NumPy warn.
    command = [
        sys.executable, "-m", "pytest", "-q", "tests/functional/test_fused_gpu.py",
        "-W", "ignore:Conversion of an array:DeprecationWarning",
    ]  # fmt: skip
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:]
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout


def test_one_kernel_for_a_whole_layer_agrees_with_the_readable_chain():
    pytest.importorskip("triton")
    command = [sys.executable, "benchmarks/one_kernel.py", "check"]
    environment = {**os.environ}
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["quiet"] < 0.05  # of the output noise of one tile
    assert found["noise"] == pytest.approx(1, abs=0.03)
