"""``python -m aimc_lightning.recipes`` is the same as ``aimc-lightning``."""

from aimc_lightning.recipes.cli import main

if __name__ == "__main__":
    main()
