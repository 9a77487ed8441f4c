"""How one weight matrix lies on its tiles, and what one sample makes it do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerMapping:
    """One weight matrix of a model; recurrent and attention layers have several.

    Counts per sample are ``None`` where no pass was made. Products that range management repeats
    are not counted, since that depends on the data.

    Attributes:
        name: Name of the layer, followed by that of the matrix if the layer has several.
        type: Class of the layer.
        rows: Inputs of each row of crossbars; empty for a digital layer.
        columns: Outputs of each column of crossbars.
        tile: Rows and columns of a tile; 0 is as large as needed.
        weights: Weights on tiles.
        digital_weights: Parameters that stay digital: biases, or all of a digital layer.
        devices: Devices in use.
        groups: Groups of a convolution; each has input vectors of its own.
        vectors: Input vectors per sample: patches, time steps, tokens.
        passes: Analog passes for each vector; 2 where signs are applied one after the other.
        converts_inputs: Whether there is a DAC.
        converts_outputs: Whether there is an ADC.

    Example:
        >>> layer = LayerMapping("fc", "Linear", (400, 400), (10,), (512, 512), vectors=1.0)
        >>> layer.mvms, layer.dac_conversions, layer.adc_conversions
        (2.0, 800.0, 20.0)
        >>> round(layer.utilisation, 4)
        0.0153
    """

    name: str
    type: str
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()
    tile: tuple[int, int] = (0, 0)
    weights: int = 0
    digital_weights: int = 0
    devices: int = 0
    groups: int = 1
    vectors: float | None = None
    passes: int = 1
    converts_inputs: bool = True
    converts_outputs: bool = True

    @property
    def crossbars(self) -> list[tuple[int, int]]:
        """Rows and columns in use of each crossbar."""
        return [(rows, columns) for rows in self.rows for columns in self.columns]

    @property
    def tiles(self) -> int:
        """Number of crossbars; 0 for a digital layer."""
        return len(self.rows) * len(self.columns)

    @property
    def utilisation(self) -> float | None:
        """Share of the tiles' cells in use, 0 to 1; ``None`` for a digital layer."""
        if not self.tiles:
            return None
        there = sum((self.tile[0] or r) * (self.tile[1] or c) for r, c in self.crossbars)
        return sum(self.rows) * sum(self.columns) / there

    @property
    def mvms(self) -> float | None:
        """Matrix-vector products per sample, one for each crossbar and input vector."""
        return None if self.vectors is None else self.vectors * self.passes * self.tiles

    @property
    def dac_conversions(self) -> float | None:
        """Inputs converted per sample; crossbars beside each other share them."""
        if self.vectors is None or not self.converts_inputs:
            return None if self.vectors is None else 0.0
        return self.vectors * self.passes * sum(self.rows)

    @property
    def adc_conversions(self) -> float | None:
        """Outputs converted per sample; a group converts its own columns only."""
        if self.vectors is None or not self.converts_outputs:
            return None if self.vectors is None else 0.0
        columns = len(self.rows) * sum(self.columns) / self.groups
        return self.vectors * self.passes * columns
