"""Read trained digital weights for a zoo entry from a safetensors file."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a state dict into a network, in place, with strict key checking.

    Args:
        network: The digital network.
        path: A safetensors file with exactly the keys and shapes of ``network.state_dict()``;
            missing ``num_batches_tracked`` counters are tolerated.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or belongs to another architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file {str(path)!r} does not exist: check the path.")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"weights file {str(path)!r} is not a readable safetensors file ({error}): "
            "it is truncated or damaged, get it again."
        ) from error
    expected = network.state_dict()
    counters = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - set(state) - counters)
    unexpected = sorted(set(state) - set(expected))
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    if missing or unexpected or wrong:
        raise ValueError(
            f"weights file {str(path)!r} belongs to another architecture than "
            f"{type(network).__name__}: missing {_some(missing)}; unexpected {_some(unexpected)}; "
            f"of another shape {_some(wrong)}."
        )
    network.load_state_dict(state, strict=False)


def _some(names: list[str], limit: int = 3) -> str:
    """Return the first few names and how many more there are."""
    if not names:
        return "none"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
