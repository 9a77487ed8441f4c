"""Time of ``evaluate_drift`` over that of the bare analog forward passes inside it.

``python benchmarks/drift_cost.py --data DIR`` takes ``resnet32_cifar10`` on its test set, both in
turn in one process. Programming, ageing, metrics, loading and the set-up of the Trainer are what
the ratio adds; more chips and images share these, so few give an upper bound.
"""

import argparse
import copy
import tempfile
from pathlib import Path

from allocator import restart_with_kept_memory

if __name__ == "__main__":
    restart_with_kept_memory()

import torch
from lightning.pytorch import Trainer
from measure import interleaved

from aimc_lightning import evaluate_drift, program_, set_time_
from aimc_lightning.recipes.mapped import mapped_model
from aimc_lightning.recipes.recipe import Recipe

_TIMES_S = (1.0, 3600.0, 86_400.0, 31_536_000.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds cifar10/")
    parser.add_argument("--chips", type=int, default=2)
    parser.add_argument("--batches", type=int, default=40, help="of 250 images; all are 40")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    recipe = Recipe("resnet32_cifar10", data_dir=arguments.data)
    with tempfile.TemporaryDirectory() as folder:
        module, data = mapped_model(recipe, Path(folder))
        trainer = Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, limit_test_batches=arguments.batches,
        )  # fmt: skip
        module.eval()
        data.prepare_data()
        data.setup("test")
        batches = [images for images, _ in data.test_dataloader()][: arguments.batches]
        bare = copy.deepcopy(module)
        program_(bare, 0)

        def passes() -> None:
            for time_s in _TIMES_S * arguments.chips:
                set_time_(bare, time_s)
                with torch.inference_mode():
                    for images in batches:
                        bare(images)

        def evaluation() -> None:
            evaluate_drift(
                trainer, module, data, times=_TIMES_S, chips=arguments.chips, metric="test_acc",
                chance=0.1, digital=0.9, progress=False,
            )  # fmt: skip

        found = interleaved({"bare": passes, "evaluate_drift": evaluation}, arguments.repeats)
    for name, timing in found.items():
        print(f"{name}: {timing.median:.1f} s ({timing.low:.1f} to {timing.high:.1f})")
    print(f"ratio: {found['evaluate_drift'].median / found['bare'].median:.3f}")


if __name__ == "__main__":
    main()
