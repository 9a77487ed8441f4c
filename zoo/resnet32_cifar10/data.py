"""CIFAR-10 from Parquet files or the Hugging Face hub; see :mod:`aimc_lightning.zoo.cifar`."""

from aimc_lightning.zoo.cifar import CIFAR10, CifarData


class Cifar10Data(CifarData):
    """CIFAR-10: 45,000 train, 5,000 val (both from the 50,000 training images), 10,000 test."""

    source = CIFAR10
