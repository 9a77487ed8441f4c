"""Which layer becomes which analog layer, and why others stay digital.

A new analog layer is one more entry here.
"""

from typing import Any

import torch
from torch import nn

from aimc_lightning.nn.attention import AnalogMultiheadAttention
from aimc_lightning.nn.conv import AnalogConv1d, AnalogConv2d, AnalogConv3d
from aimc_lightning.nn.conv1d_hf import AnalogConv1DHF
from aimc_lightning.nn.linear import AnalogLinear
from aimc_lightning.nn.recurrent import AnalogGRU, AnalogLSTM, AnalogRNN
from aimc_lightning.nn.recurrent_cells import AnalogGRUCell, AnalogLSTMCell, AnalogRNNCell

#: Analog class by digital class; a subclass that keeps ``forward`` counts as its base.
ANALOG_CLASSES: dict[type[nn.Module], Any] = {
    nn.Linear: AnalogLinear,
    nn.Conv1d: AnalogConv1d,
    nn.Conv2d: AnalogConv2d,
    nn.Conv3d: AnalogConv3d,
    nn.LSTM: AnalogLSTM,
    nn.GRU: AnalogGRU,
    nn.RNN: AnalogRNN,
    nn.LSTMCell: AnalogLSTMCell,
    nn.GRUCell: AnalogGRUCell,
    nn.RNNCell: AnalogRNNCell,
    nn.MultiheadAttention: AnalogMultiheadAttention,
}
#: The same for classes of packages that need not be installed, by module and name.
ANALOG_CLASSES_BY_NAME: dict[tuple[str, str], Any] = {
    ("transformers.pytorch_utils", "Conv1D"): AnalogConv1DHF,
}
_NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_REASONS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((nn.Embedding, nn.EmbeddingBag), "a look-up, not a product with a matrix"),
    (_NORMALISATIONS, "normalisation is digital"),
    (_TRANSPOSED, "transposed convolutions are not mapped to tiles"),
    ((nn.Bilinear,), "multiplies two activations, a tile multiplies stored weights"),
)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def convertible_names() -> str:
    """Return the names of all layers that can be converted, for messages.

    Example:
        >>> convertible_names().split(", ")[:2]
        ['Linear', 'Conv1d']
    """
    by_name = [".".join((package.split(".")[0], name)) for package, name in ANALOG_CLASSES_BY_NAME]
    return ", ".join([*(cls.__name__ for cls in ANALOG_CLASSES), *by_name])


def analog_class(module: nn.Module) -> Any:  # noqa: ANN401 - a class with from_digital
    """Return the class that a digital layer is converted to, or ``None``.

    Example:
        >>> analog_class(nn.Linear(2, 2)).__name__
        'AnalogLinear'
    """
    kind: Any = type(module)
    for cls, analog in ANALOG_CLASSES.items():
        if isinstance(module, cls) and kind.forward is cls.forward:
            return analog
    return ANALOG_CLASSES_BY_NAME.get((kind.__module__, kind.__name__))


def reason_to_stay(module: nn.Module) -> str | None:
    """Return why a layer cannot be converted, ``None`` if it can.

    Example:
        >>> reason_to_stay(nn.Embedding(2, 2))
        'a look-up, not a product with a matrix'
    """
    if analog_class(module) is None:
        for classes, reason in _REASONS:
            if isinstance(module, classes):
                return reason
        base = next((cls.__name__ for cls in ANALOG_CLASSES if isinstance(module, cls)), None)
        if base is not None:
            return f"{type(module).__name__} changes forward() of {base}"
        return "not a layer that runs on tiles"
    weights = [module._parameters.get(name) for name in _matrix_names(module)]
    if any(isinstance(weight, nn.parameter.UninitializedParameter) for weight in weights):
        return "lazy layer without weights yet; run it once before converting"
    if hasattr(module, "parametrizations") or any(weight is None for weight in weights):
        return "its weight is reparametrised; remove the parametrisation before converting"
    wrong = next((str(w.dtype) for w in weights if w is not None and w.dtype not in _FLOATS), None)
    if wrong is not None:
        return f"its weight is {wrong}; tiles hold real floating-point weights"
    if any(weight is not None and weight.numel() == 0 for weight in weights):
        return "its weight has no elements"
    return None


def _matrix_names(module: Any) -> list[str]:  # noqa: ANN401 - any convertible layer
    """Return the names of the parameters that would go on tiles."""
    if isinstance(module, nn.RNNBase):
        return [name for names in module._all_weights for name in names if "weight" in name]
    if isinstance(module, nn.RNNCellBase):
        return ["weight_ih", "weight_hh"]
    if isinstance(module, nn.MultiheadAttention):
        separate = ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
        return ["in_proj_weight"] if module._qkv_same_embed_dim else separate
    return ["weight"]
