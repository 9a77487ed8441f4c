"""Networks of torchvision for ImageNet, with or without the weights that torchvision offers."""

import re
from typing import Any

from torch import nn

from aimc_lightning.zoo.classifier import ImageClassifier


class TorchvisionClassifier(ImageClassifier):
    """Classifier for the 1,000 classes of ImageNet; a subclass names the network.

    Attributes:
        architecture: Name of the network in torchvision.
    """

    architecture: str

    def __init__(
        self,
        weights: str | None = None,
        pretrained: str | None = None,
        label_smoothing: float = 0.0,
        learning_rate: float = 0.1,
    ) -> None:
        """Build the network.

        Args:
            weights: Safetensors file of trained digital weights; None draws new ones.
            pretrained: Name of torchvision's weights, such as ``IMAGENET1K_V1``, which are
                downloaded if they are not in the cache of ``torch.hub``; None stays away from them.
            label_smoothing: Share of the target spread over all classes, 0 to below 1.
            learning_rate: Of SGD; only used when the command line names no other optimizer.
        """
        network = torchvision_network(self.architecture, pretrained)
        super().__init__(network, 1000, weights, label_smoothing, learning_rate)
        # A checkpoint brings its own weights.
        self.save_hyperparameters(ignore=["weights", "pretrained"])


def torchvision_network(architecture: str, pretrained: str | None) -> nn.Module:
    """Build a network of torchvision.

    Args:
        architecture: Name of the network in torchvision.
        pretrained: Member of torchvision's own enumeration of weights for it; None draws new ones.

    Returns:
        The network, which gives 1,000 logits for each image ``(3, 224, 224)``.

    Raises:
        ImportError: If torchvision is not installed.
        ValueError: If there are no such weights.
        ConnectionError: If the weights are neither in the cache nor can be downloaded.
    """
    models = _torchvision_models()
    if pretrained is None:
        return models.get_model(architecture)
    known = models.get_model_weights(architecture)
    if pretrained not in known.__members__:
        raise ValueError(
            f"pretrained must be one of torchvision's weights for {architecture} "
            f"({', '.join(known.__members__)}) or null, got {pretrained!r}."
        )
    try:
        # Only tensors are unpickled, whatever else the file holds.
        state = known[pretrained].get_state_dict(check_hash=True, weights_only=True)
    except OSError as error:
        raise ConnectionError(
            f"{pretrained} of torchvision's {architecture} could not be downloaded from "
            f"{known[pretrained].url} ({error}). Try again with a network, give digital weights "
            "(aimc-lightning run ENTRY --weights FILE), or set pretrained to null and train."
        ) from error
    network = models.get_model(architecture)
    # The file of DenseNet is older than the rule that names hold no dots.
    dotted = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
    network.load_state_dict({dotted.sub(r"\1\2", key): value for key, value in state.items()})
    return network


def _torchvision_models() -> Any:  # noqa: ANN401 - a module
    """Import torchvision only when one of its networks is built: the list of entries needs none."""
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError(
            "the ImageNet networks are those of torchvision, which is not installed: "
            "pip install 'aimc-lightning[zoo]'"
        ) from error
    return models
