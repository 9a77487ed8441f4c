"""The model card: a YAML head that hubs read, and a table of what was measured."""

import math
import re
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from aimc_lightning.config import TileConfig
from aimc_lightning.evaluation.results import DriftResults
from aimc_lightning.evaluation.summary import stage_label
from aimc_lightning.hub.config_file import Origin
from aimc_lightning.times import format_time


def model_card(config: dict[str, Any], origin: Origin, results: DriftResults | None = None) -> str:
    """Return the text of a checkpoint's ``README.md``.

    Args:
        config: Content of ``config.json``.
        origin: Where the checkpoint comes from.
        results: What was measured on chips; ``None`` says so.

    Returns:
        Markdown with a YAML head, one result for each stage and time in it.
    """
    name = config["architecture"]["name"]
    data = ModelCardData(
        model_name=name,
        library_name="aimc-lightning",
        license=origin.licence,
        base_model=origin.base_model,
        tags=["analog-in-memory-computing", "hardware-aware-training", "pytorch-lightning"],
        eval_results=None if results is None else _eval_results(name, origin, results),
    )
    parts = [
        f"---\n{data.to_yaml()}\n---\n",
        f"# {name}\n",
        f"Task: {origin.task or name}. A network for analog in-memory computing: "
        f"{_counted(config)}. Weights only, no programmed chip. {_precision(config)}\n",
        "```python\nfrom aimc_lightning import from_pretrained\n\n"
        'module = from_pretrained("OWNER/NAME")  # or the folder of these files\n```\n',
        "## Scores\n",
        _table(results) if results is not None else "Not measured on chips.\n",
        "## Noise model\n",
        _noise_model(config),
        "## Origin\n",
        _origin(config, origin),
    ]
    return "\n".join(parts)


def _precision(config: dict[str, Any]) -> str:
    if not config["weights"]["half_precision"]:
        return ""
    return "Matrices are stored in half precision; scores were measured before rounding."


def _counted(config: dict[str, Any]) -> str:
    analog = sum(len(entry["layers"]) for entry in config["analog"]["conversions"])
    digital = config["digital_layers"]
    text = f"{analog} analog layers, {len(digital)} digital layers with weights"
    reasons = sorted({f"{layer['type']}: {layer['reason']}" for layer in digital})
    return text + (f" ({'; '.join(reasons)})" if reasons else "")


def _eval_results(name: str, origin: Origin, results: DriftResults) -> list[EvalResult]:
    """Return the digital score, and one result for each stage and time."""
    dataset = origin.data or "unknown"
    same: dict[str, Any] = {
        "task_type": "other",
        "task_name": origin.task or name,
        "dataset_type": re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-"),
        "dataset_name": dataset,
        "metric_type": results.metric,
    }
    found = []
    if results.digital is not None:
        digital = results.digital / results.scale
        found.append(
            EvalResult(**same, metric_value=digital, metric_name=f"{results.metric}, digital")
        )
    for line in results.summary():
        if not math.isfinite(line.mean):
            continue
        time = format_time(line.t_inference_s)
        facts = {
            "stage": line.stage,
            "t_inference_s": line.t_inference_s,
            "chips": line.chips,
            "std": line.std / results.scale,
            "normalised_accuracy": line.a_star,
        }
        metric = f"{results.metric}, {stage_label(line.stage)}, {time} after programming"
        mean = line.mean / results.scale
        found.append(EvalResult(**same, metric_value=mean, metric_name=metric, metric_args=facts))
    return found


def _table(results: DriftResults) -> str:
    """Return the scores as Markdown: mean and standard deviation over chips."""
    rows = [f"| network | time | chips | {results.metric} | A* |", "|---|---|---|---|---|"]
    if results.digital is not None:
        rows.append(f"| digital | | | {results.digital / results.scale:.4f} | |")
    for line in results.summary():
        score = f"{line.mean / results.scale:.4f} +- {line.std / results.scale:.4f}"
        star = "-" if line.a_star is None else f"{100 * line.a_star:.2f} %"
        stage, time = stage_label(line.stage), format_time(line.t_inference_s)
        rows.append(f"| {stage} | {time} | {line.chips} | {score} | {star} |")
    return "\n".join(rows) + (
        "\n\nMean and standard deviation over chips; A* is the accuracy normalised to digital (1) "
        "and chance (0). Single chips: `eval/drift.csv`.\n"
    )


def _noise_model(config: dict[str, Any]) -> str:
    """Return one line for each kind of tile in the checkpoint."""
    lines = []
    for entry in config["analog"]["conversions"]:
        tile = TileConfig.from_dict(entry["config"])
        layers = len(entry["layers"])
        lines.append(
            f"- {layers} layer{'s' if layers > 1 else ''}: {type(tile.chip.device).__name__} on "
            f"tiles of {tile.mapping.max_inputs} x {tile.mapping.max_outputs}, DAC "
            f"{_bits(tile.dac.bits)}, ADC {_bits(tile.adc.bits)}, output noise "
            f"{tile.noise.output_std:g}, IR drop {tile.ir_drop.scale:g}; trained with "
            f"{tile.weight_noise.type} weight noise x {tile.weight_noise.std:g}"
        )
    return "\n".join([*lines, "", "Every number is in `config.json`.\n"] if lines else ["none\n"])


def _bits(bits: float | None) -> str:
    return "ideal" if bits is None else f"{bits:g} bit"


def _origin(config: dict[str, Any], origin: Origin) -> str:
    facts = {
        "data": origin.data,
        "licence of the data": origin.data_licence,
        "recipe": origin.recipe,
        "seed": origin.seed,
        "aimc-lightning": config["library_version"],
        "torch": config["torch_version"],
        "git revision": origin.git_revision,
    }
    lines = [f"- {key}: {value}" for key, value in facts.items() if value is not None]
    if origin.command is not None:
        lines += ["", "```sh", origin.command, "```"]
    return "\n".join(lines) + "\n"
