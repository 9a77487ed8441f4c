"""The recipes that ship with the package: each is a folder with one YAML file for each stage."""

import difflib
from importlib.resources import files
from pathlib import Path

STAGES = ("digital", "hwa", "drift")


def recipes_folder() -> Path:
    """Return the installed folder that holds the recipes."""
    return Path(str(files("aimc_lightning.recipes")))


def list_recipes() -> list[str]:
    """Return the names of all recipes, sorted.

    Example:
        >>> from aimc_lightning.recipes.catalog import list_recipes
        >>> "resnet8_digits" in list_recipes()
        True
    """
    return sorted(path.parent.name for path in recipes_folder().glob("*/digital.yaml"))


def recipe_files(name: str) -> dict[str, Path]:
    """Return the YAML file of each stage of a recipe.

    Args:
        name: A name of :func:`list_recipes`.

    Returns:
        One path for each of ``digital``, ``hwa`` and ``drift``.

    Raises:
        ValueError: If there is no such recipe; the message lists the known ones.
        FileNotFoundError: If the recipe lacks one of its files.
    """
    known = list_recipes()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown recipe {name!r}: known are {', '.join(known)}.{hint}")
    paths = {stage: recipes_folder() / name / f"{stage}.yaml" for stage in STAGES}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"recipe {name!r} lacks {', '.join(missing)} in {recipes_folder() / name}: "
            f"a recipe needs {', '.join(f'{stage}.yaml' for stage in STAGES)}."
        )
    return paths
