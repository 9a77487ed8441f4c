"""Speech without speech: tones for digits, random features, and weights to begin with."""

import io
import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from aimc_lightning.zoo.registry import get_model

RATE_HZ = 8000


def write_spoken_digits(folder: Path, speakers: tuple[str, ...] = ("ann", "bob")) -> Path:
    """Write ``folder/fsdd/*.parquet``: digit d is a tone of 300 + 300 d hertz; return ``folder``.

    Each speaker has one validation take, three training takes and one test take of each digit.
    """
    (folder / "fsdd").mkdir(parents=True)
    for split, takes in (("train", (5, 10, 11, 12)), ("test", (0,))):
        keys = [(s, digit, take) for s in speakers for digit in range(10) for take in takes]
        columns = dict(zip(("speaker", "label", "take"), zip(*keys, strict=True), strict=True))
        audio = [{"bytes": _tone(digit, 0.2 + 0.01 * take), "path": ""} for _, digit, take in keys]
        table = pa.table({**{key: list(values) for key, values in columns.items()}, "audio": audio})
        pq.write_table(table, folder / "fsdd" / f"{split}.parquet")
    return folder


def _tone(digit: int, seconds: float) -> bytes:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    samples = 8000 * np.sin(2 * np.pi * (300 + 300 * digit) * time_s)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def write_features(folder: Path, width: int, symbols: range, per_frame: bool) -> Path:
    """Write two random utterances of 42 and 63 frames for each part; return ``folder``."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for part in ("train", "validation", "test"):
        features = [generator.normal(size=(frames, width)).astype("f4") for frames in (42, 63)]
        counts = [len(own) if per_frame else 9 for own in features]
        labels = [generator.integers(symbols.start, symbols.stop, count) for count in counts]
        _write(folder / f"{part}-0.parquet", features, labels)
    return folder


def _write(path: Path, features: list[np.ndarray], labels: list) -> None:
    table = {"features": [own.tolist() for own in features], "symbols": [list(x) for x in labels]}
    kind = pa.schema(
        {"features": pa.list_(pa.list_(pa.float32())), "symbols": pa.list_(pa.int64())}
    )
    pq.write_table(pa.table(table, kind), path)


def save_weights(name: str, path: Path) -> torch.nn.Module:
    """Write new weights of an entry, the same each time, and return the module that has them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = get_model(name).eval()
    if name == "lstm_speech_digits":
        module.network.output.bias.data[4] = 5.0  # says "3", once: no worse than to say nothing
    if name == "rnnt_speech_digits":
        _say_one_digit(module.network)
    save_file(module.network.state_dict(), path)
    return module


def _say_one_digit(network: torch.nn.Module) -> None:
    """Make a transducer say "3" before its first symbol, and nothing after it."""
    lstm, hidden = network.prediction, network.prediction.hidden_size
    state = network.state_dict()
    state["embedding.weight"].fill_(-1.0)[0] = 1.0
    for value in (lstm.weight_hh_l0, lstm.bias_hh_l0, lstm.bias_ih_l0, lstm.weight_ih_l0):
        value.data.zero_()
    lstm.bias_ih_l0.data[:hidden] = lstm.bias_ih_l0.data[3 * hidden :] = 9.0  # gates in and out
    lstm.bias_ih_l0.data[hidden : 2 * hidden] = -9.0  # forget
    lstm.weight_ih_l0.data[2 * hidden : 3 * hidden] = 0.5
    state["from_prediction.weight"].fill_(0.1)
    state["output.weight"].mul_(0.1)
    state["output.weight"][4], state["output.weight"][0] = 1.0, -1.0


def label_by(module: torch.nn.Module, file: Path) -> None:
    """Replace the symbols of a file by what a module of Switchboard says of its features."""
    rows = pq.read_table(file).to_pylist()
    features = [torch.tensor(row["features"]) for row in rows]
    with torch.no_grad():
        if hasattr(module.network, "transcribe"):
            frames = [torch.tensor([len(own)]) for own in features]
            pairs = zip(features, frames, strict=True)
            labels = [module.network.transcribe(own[None], count)[0] for own, count in pairs]
        else:  # pieces of 21 frames, which each begin anew
            labels = [module(own.unflatten(0, (-1, 21))).argmax(-1).flatten() for own in features]
    _write(file, [own.numpy() for own in features], [[int(x) for x in own] for own in labels])
