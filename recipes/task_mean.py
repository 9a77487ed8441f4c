"""Mean over the tasks of an entry that trains one network for each, from their measured results."""

import math

from aimc_lightning.zoo.registry import ModelEntry

Rows = list[dict[str, str]]


def mean_of_tasks(entry: ModelEntry, tables: dict[str, Rows]) -> Rows:
    """Return the results of an entry as the mean of those of its tasks.

    The chips of two tasks are different draws, so the spread of their mean over chips follows from
    the spread of each.

    Args:
        entry: The entry.
        tables: Rows of ``results_<task>.csv`` by task.

    Returns:
        Rows of the same columns, one for each row of a task: ``mean``, ``std`` and ``a_star`` of
        the mean score, the smallest number of ``chips``, all ``seconds`` together. None as long as
        a task is missing.

    Raises:
        ValueError: If the tasks were measured in other stages or at other times.
    """
    if not entry.tasks or set(tables) != set(entry.tasks):
        return []
    places = {task: [(r["stage"], r["t_inference_s"]) for r in tables[task]] for task in tables}
    first = next(iter(places))
    for task, found in places.items():
        if found != places[first]:
            raise ValueError(
                f"{entry.name}: stages and times of {task} are not those of {first}, so there is "
                "no mean of them: run both at the same times."
            )
    digital = _mean([float(rows[0]["mean"]) for rows in tables.values()])
    return [_mean_row(list(rows), digital, entry) for rows in zip(*tables.values(), strict=True)]


def _mean_row(rows: Rows, digital: float, entry: ModelEntry) -> dict[str, str]:
    """Return the mean of one row of each task; ``rows[0]`` gives what is not a number."""
    mean = _mean([float(row["mean"]) for row in rows])
    found = {
        **rows[0],
        "mean": f"{mean:.6g}",
        "seconds": f"{sum(float(row['seconds']) for row in rows):.6g}",
        "command": f"aimc-lightning run {entry.name} --task TASK",
    }
    for key in ("hardware", "versions"):
        found[key] = " or ".join(dict.fromkeys(row[key] for row in rows))
    if rows[0]["std"]:
        found["std"] = f"{math.hypot(*(float(row['std']) for row in rows)) / len(rows):.6g}"
        found["a_star"] = f"{(mean - entry.chance) / (digital - entry.chance):.6g}"
        found["chips"] = str(min(int(row["chips"]) for row in rows))
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
