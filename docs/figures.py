"""Draw the figures of the documentation: ``python docs/figures.py``."""

from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aimc_lightning.functional.ir_drop_exact import compare_ir_drop

FOLDER = Path(__file__).resolve().parent
SIZES = (16, 32, 64, 128, 256, 512, 1024)


def ir_drop() -> Figure:
    """Draw the exact and the approximate IR drop over array sizes, and the error left over."""
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, signed in zip(figure.subplots(1, 2, sharey=True), (True, False), strict=True):
        generator = torch.Generator().manual_seed(0)
        rows = compare_ir_drop(SIZES, signed=signed, generator=generator)
        for name, label, style in (
            ("exact_drop", "drop, exact", "k-"),
            ("approximate_drop", "drop, approximation", "C0--"),
            ("error", "error of the approximation", "C3o-"),
        ):
            axes.loglog(SIZES, [getattr(row, name) for row in rows], style, ms=4, label=label)
        axes.set_title(f"weights and inputs of {'both signs' if signed else 'one sign'}")
        axes.set_xlabel("inputs of the array")
        axes.set_xticks(SIZES, [str(size) for size in SIZES])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        print(axes.get_title())
        for row in rows:
            print(
                "| " + " | ".join([str(row[0]), *(f"{100 * part:.3g}" for part in row[1:])]) + " |"
            )
    figure.axes[0].set_ylabel("relative to the ideal outputs")
    figure.axes[0].legend()
    return figure


def main() -> None:
    """Write all figures beside this file."""
    ir_drop().savefig(FOLDER / "ir_drop.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
