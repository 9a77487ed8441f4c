"""Networks, data and cards that come with the library; see ``aimc_lightning.zoo.registry``."""

if __name__ != "aimc_lightning.zoo":
    raise ImportError(
        f"This folder is the package aimc_lightning.zoo, imported here as {__name__!r}: "
        "use 'import aimc_lightning.zoo', otherwise two copies of the registry could exist."
    )
