"""What there is to know of each entry at a glance: what it is, how large, and how it scored."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.table import Table

from aimc_lightning.recipes.catalog import list_recipes
from aimc_lightning.recipes.publish import read_results, task_results
from aimc_lightning.recipes.sizes import size_of
from aimc_lightning.times import format_time
from aimc_lightning.zoo.registry import get_entry

_NUMBERS = ("t_inference_s", "mean", "std", "a_star")


def overview() -> list[dict[str, Any]]:
    """Return one description for each entry, plain data.

    Returns:
        By key: ``name``, ``task``, ``parameters``, ``tiles``, ``metric``, ``digital`` (score, or
        None), ``hwa`` (mean and standard deviation over chips, A* and chips at each time in
        seconds), ``data``, ``licence`` and ``status``. Scores are fractions of 1.
    """
    return [_describe(name) for name in list_recipes()]


def _describe(name: str) -> dict[str, Any]:
    entry, size = get_entry(name), size_of(name)
    zoo = Path(str(files("aimc_lightning.zoo")))
    rows, tasks = read_results(zoo / name / "results.csv"), task_results(zoo, name)
    digital = [float(row["mean"]) for row in rows if row["stage"] == "digital"]
    hwa = [
        {key: float(row[key]) if row[key] else None for key in _NUMBERS}
        | {"chips": int(row["chips"])}
        for row in rows
        if row["stage"] == "hwa"
    ]
    return {
        "name": name,
        "task": entry.task,
        "parameters": size.parameters,
        "tiles": size.tiles,
        "metric": entry.metric,
        "digital": digital[0] if digital else None,
        "hwa": hwa,
        "data": entry.data,
        "licence": entry.licence,
        "status": _status(bool(hwa), list(tasks)),
    }


def _status(measured: bool, tasks: list[str]) -> str:
    if measured:
        return "measured"
    return f"measured in part: {', '.join(tasks)}" if tasks else "not measured here"


def overview_table(entries: list[dict[str, Any]]) -> Table:
    """Return the descriptions as a table that fits into 80 columns.

    Args:
        entries: What :func:`overview` returns.

    Returns:
        The table; scores in percent, with the standard deviation over chips.
    """
    table = Table(title="Recipes: aimc-lightning run NAME", show_lines=True)
    table.add_column("name, size", no_wrap=True)
    table.add_column("task, data, licence", overflow="fold")
    table.add_column("score in percent", no_wrap=True)
    for entry in entries:
        size = f"{entry['parameters']:,} parameters\n{entry['tiles']:,} tiles"
        about = f"{entry['task']}\n{entry['data']}\n{entry['licence']}"
        table.add_row(f"{entry['name']}\n{size}", about, _scores(entry))
    return table


def _scores(entry: dict[str, Any]) -> str:
    lines = [entry["status"]]
    if entry["digital"] is not None:
        lines.append(f"digital {100 * entry['digital']:.2f}")
    for row in entry["hwa"]:
        time = format_time(row["t_inference_s"])
        lines.append(f"HWA {time:6} {100 * row['mean']:.2f} +- {100 * row['std']:.2f}")
    return "\n".join(lines)
