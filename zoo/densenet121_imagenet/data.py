"""ImageNet from its folders or the Hugging Face hub; see :mod:`aimc_lightning.zoo.imagenet`."""

from aimc_lightning.zoo.imagenet import ImageNetData as ImageNetData
