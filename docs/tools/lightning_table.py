"""The page of what works with which settings of the Trainer, from the record of tests.

``python -m docs.tools.lightning_table`` writes docs/lightning.md; the record comes from
``python -m tests.helpers.matrix``.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
RECORD = DOCS / "tools" / "lightning_matrix.csv"
STAGES = ("fit", "resume", "validate", "test")
AXES = ("analog by", "strategy", "processes", "precision", "layers made in", "accumulate", "EMA")
_LAYERS = {"init": "`__init__`", "setup": "`setup`", "configure_model": "`configure_model`"}
Row = tuple[tuple[str, ...], tuple[str, ...]]


def rows() -> list[Row]:
    """Return values of the axes and outcomes of the stages, as recorded."""
    found = []
    with RECORD.open(newline="") as file:
        for row in csv.DictReader(file):
            # The name of a precision has a hyphen itself.
            analog, strategy, processes, bits, kind, *rest = row["combination"].split("-")
            layers, accumulate, ema = rest
            by = "callback" if analog == "callback" else "strategy"
            axes = (
                by, f"`{strategy}`", processes, f"`{bits}-{kind}`", _LAYERS[layers], accumulate,
                "no" if ema == "no_ema" else "yes",
            )  # fmt: skip
            found.append((axes, tuple(row[stage] for stage in STAGES)))
    return found


def merged(found: list[Row]) -> list[Row]:
    """Return rows in which values of an axis that make no difference stand together.

    Example:
        >>> merged([(("a", "1"), ("works",)), (("a", "2"), ("works",))])
        [(('a', '1, 2'), ('works',))]
    """
    for axis in reversed(range(len(found[0][0]))):
        groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
        for axes, outcome in found:
            groups[axes[:axis], axes[axis + 1 :], outcome].append(axes[axis])
        found = [
            ((*before, ", ".join(dict.fromkeys(values)), *after), outcome)  # type: ignore[misc]
            for (before, after, outcome), values in groups.items()
        ]
    return found


def table() -> Iterator[str]:
    """Yield the lines of the table and of the reasons below it."""
    reasons: dict[str, int] = {}
    yield "| " + " | ".join((*AXES, *STAGES)) + " |"
    yield "|---" * (len(AXES) + len(STAGES)) + "|"
    for axes, outcomes in merged(rows()):
        cells = [
            "yes" if text == "works" else f"refused ({reasons.setdefault(text, len(reasons) + 1)})"
            for text in outcomes
        ]
        yield "| " + " | ".join((*axes, *cells)) + " |"
    yield ""
    yield from (f"{number}. {text}" for text, number in reasons.items())


def page() -> str:
    """Return the whole page."""
    with RECORD.open(newline="") as file:
        every = list(csv.DictReader(file))
    versions = sorted({f"lightning {row['lightning']}, torch {row['torch']}" for row in every})
    cells = len(every) * len(STAGES)
    text = _TEXT.format(count=len(every), cells=cells, versions="; ".join(versions))
    return text + "\n".join(table()) + "\n"


_TEXT = """# What works with which Trainer

Made from the outcome of a test: {count} combinations of settings with four stages each, {cells} in
all ({versions}, on a CPU). Values that make no difference stand together in one row.

- `fit`: losses are finite, the layers are converted, weights and metrics are equal on all
  processes.
- `resume`: from a checkpoint in the middle of an epoch; weights, averages and optimizer end bit for
  bit as those of the run that was not interrupted.
- `validate`: of the trained module, which stays as it is.
- `test`: of a fresh module with `ckpt_path`; the loss is exactly that of `validate` with the same
  noise.

A refusal comes at set-up, before any training step, with the reason below the table, which says
what to use instead. `ddp`, `aimc_ddp` and `aimc_fsdp` were started as `torchrun` does it.

"""


def main() -> None:
    """Write the page."""
    (DOCS / "lightning.md").write_text(page())


if __name__ == "__main__":
    main()
