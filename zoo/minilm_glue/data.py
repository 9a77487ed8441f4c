"""One task of GLUE; see :mod:`aimc_lightning.zoo.glue_data`."""

from aimc_lightning.zoo.glue_data import GlueData as GlueData
