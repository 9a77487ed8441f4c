"""CIFAR-100 from Parquet files or the Hugging Face hub; see :mod:`aimc_lightning.zoo.cifar`."""

from aimc_lightning.zoo.cifar import CIFAR100, CifarData


class Cifar100Data(CifarData):
    """CIFAR-100: 45,000 train, 5,000 val (both from the 50,000 training images), 10,000 test."""

    source = CIFAR100
