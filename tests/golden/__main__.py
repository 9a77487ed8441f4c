"""Command line: ``python -m tests.golden DIR``; exit status 1 unless every file passes."""

import argparse
import sys
from pathlib import Path

import torch

from tests.golden.runner import evaluate_file, golden_files


def main() -> int:
    """Evaluate every ``.npz`` of a folder and print one line for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with golden .npz files")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)  # so that draws do not depend on the machine's cores
    files = golden_files(folder)
    if not files:
        print(f"FAIL  no .npz file in {folder}")
        return 1
    failed = 0
    for path in files:
        report = evaluate_file(path)
        failed += not report.passed
        print(report.line(), flush=True)
    print(f"{len(files) - failed} of {len(files)} files pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
