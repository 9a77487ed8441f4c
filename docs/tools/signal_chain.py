"""The signal chain of a preset as one drawing, from what ``explain`` says of it."""

from html import escape

from aimc_lightning.explain.stages import explain

#: What each stage does to the signal, in one line; its section on the page is named after it.
EFFECTS = {
    "centring": "take the mean of each input off, add its product at the end",
    "outlier splitting": "large inputs take several rows, each its share",
    "input range": "clip to ±c, divide by c",
    "DAC": "round to its steps",
    "input asymmetry": "negative inputs are smaller",
    "input noise": "add noise",
    "product": "multiply by the conductances, add up along the columns",
    "IR drop": "the wires take part of the voltage",
    "voltage offset": "columns read with another voltage",
    "series resistance": "large currents are compressed",
    "read polarity": "devices differ by the sign of the input",
    "short-term read noise": "each read of a device differs",
    "S-shaped nonlinearity": "the amplifier is compressed",
    "output noise": "add noise",
    "output asymmetry": "negative outputs are smaller",
    "ADC": "clip to ±b, round to its steps",
    "output scale": "scale by c and per column; add partial sums and bias",
}
#: Parts of the settings that act on the signal, and their kind.
ZONES = {"input": "analog", "crossbar": "analog", "output": "analog", "digital": "digital"}
_WIDTH, _STEP, _BOX = 440, 62, 44  # as narrow as the texts allow, for phones


def drawing(preset: str = "standard_pcm") -> str:
    """Return the SVG: one box for each stage in its order; stages that are off are dashed.

    Args:
        preset: Name of a preset.
    """
    stages = [stage for stage in explain(preset) if stage.part in ZONES]
    height = (len(stages) + 2) * _STEP
    parts = [_end("x, digital input of the layer", 0)]
    for row, stage in enumerate(stages, 1):
        digital = (
            stage.name in ("centring", "outlier splitting", "input range")
            or stage.part == "digital"
        )
        parts.append(_arrow(row))
        parts.append(_box(stage.name, stage.setting, digital, row))
    parts += [_arrow(len(stages) + 1), _end("y, digital output of the layer", len(stages) + 1)]
    return (
        f'<figure class="drawing"><svg class="narrow" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Signal chain of {preset}" fill="currentColor"><defs><marker id="chain" '
        'viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0L8 4L0 8z"/></marker></defs>{"".join(parts)}</svg></figure>'
    )


def _box(name: str, setting: str, digital: bool, row: int) -> str:
    off, top = setting == "off", row * _STEP + 8
    style = 'stroke-dasharray="5 4" opacity="0.6"' if off else ""
    fill = "var(--md-code-bg-color)" if digital else "var(--md-accent-fg-color--transparent)"
    anchor = name.lower().replace(" ", "-")
    return (
        f'<a href="#{anchor}"><g {style}><rect x="10" y="{top}" width="{_WIDTH - 20}" '
        f'height="{_BOX}" rx="5" fill="{fill}" stroke="currentColor"/></g>'
        f'<text x="24" y="{top + 19}" font-size="16" font-weight="bold">{escape(name)}</text>'
        f'<text x="{_WIDTH - 24}" y="{top + 19}" font-size="15" text-anchor="end">'
        f"{escape(setting)}</text>"
        f'<text x="24" y="{top + 37}" font-size="13">{escape(EFFECTS[name])}</text></a>'
    )


def _arrow(row: int) -> str:
    end = row * _STEP + 8
    return (
        f'<path d="M{_WIDTH / 2:.0f} {end - _STEP + _BOX}V{end}" stroke="currentColor" '
        'marker-end="url(#chain)"/>'
    )


def _end(text: str, row: int) -> str:
    return (
        f'<text x="{_WIDTH / 2:.0f}" y="{row * _STEP + 36}" font-size="16" text-anchor="middle">'
        f"{text}</text>"
    )
