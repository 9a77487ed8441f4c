"""YAML experiments and the command line; see ``aimc_lightning.recipes.catalog``."""

if __name__ != "aimc_lightning.recipes":
    raise ImportError(
        f"This folder is the package aimc_lightning.recipes, imported here as {__name__!r}: "
        "use 'import aimc_lightning.recipes', otherwise two copies of it could exist."
    )
