"""The table that a run prints: digital, directly mapped and retrained, at each time."""

from rich.table import Table

from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.summary import stage_label
from aimc_lightning.times import format_time


def drift_table(name: str, results: DriftResults) -> Table:
    """Return one row for each network and time; fits into 80 columns.

    Args:
        name: Name of the recipe.
        results: Rows of all stages measured so far, with the digital score and chance level.

    Returns:
        The table. Shares are shown in percent; the spread is the standard deviation over chips.
    """
    percent = 100.0 / results.scale if results.chance is not None else 1.0
    table = Table(title=f"{name}: {results.metric}, in percent, mean and spread over chips")
    for column in ("network", "time", "chips", "score", "A*", f"A* >= {100 * results.share:g} %"):
        right = column in ("chips", "score", "A*")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "network")
    table.add_row("digital", "", "", f"{percent * results.digital:.2f}", "", "", end_section=True)
    summary = results.summary()
    for index, entry in enumerate(summary):
        last_of_stage = index + 1 == len(summary) or summary[index + 1].stage != entry.stage
        failed = f" (+{entry.nan_chips} NaN)" if entry.nan_chips else ""
        table.add_row(
            stage_label(entry.stage),
            format_time(entry.t_inference_s),
            f"{entry.chips}{failed}",
            f"{percent * entry.mean:.2f} +- {percent * entry.std:.2f}",
            "-" if entry.a_star is None else f"{100 * entry.a_star:.2f} %",
            {None: "-", True: "yes", False: "no"}[entry.iso_accuracy],
            end_section=last_of_stage,
        )
    return table
