"""Measured rows on disk: appended one by one, taken up again after an interruption."""

import csv
import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DriftRow:
    """One measurement: one chip at one time, or the digital model.

    Attributes:
        stage: ``"digital"``, ``"direct"`` or ``"hwa"``; the latter two with ``"+bn"`` if batch-norm
            statistics were re-estimated on the chip.
        chip: Number of the chip, from 0; -1 for the digital model.
        t_inference_s: Seconds since the end of programming.
        metric: Name of the metric.
        value: Its value; may be NaN.
        seed: Seed of the evaluation, from which chip and noise follow.
        fingerprint: Hash of weights, configuration and seed; rows of one sweep share it.
    """

    stage: str
    chip: int
    t_inference_s: float
    metric: str
    value: float
    seed: int
    fingerprint: str

    @property
    def key(self) -> tuple[str, int, float]:
        """What tells rows of one sweep apart."""
        return self.stage, self.chip, self.t_inference_s

    @property
    def is_finite(self) -> bool:
        """Whether the metric is a number."""
        return math.isfinite(self.value)


COLUMNS = tuple(field.name for field in dataclasses.fields(DriftRow))


class RowFile:
    """A CSV file of rows, or only a list when there is no path.

    Args:
        path: CSV file, made when the first row is written; ``None`` keeps the rows in memory.

    Raises:
        ValueError: If the file exists and is not such a table.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.rows: list[DriftRow] = []
        self._complete_bytes = 0
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def _read(self, path: Path) -> None:
        text = path.read_bytes()
        # An interrupted run may leave half a line: it is measured again.
        self._complete_bytes = text.rfind(b"\n") + 1
        lines = text[: self._complete_bytes].decode(errors="replace").splitlines()
        if not lines:
            if text:
                raise self._foreign(path)
            return
        if tuple(next(csv.reader(lines[:1]))) != COLUMNS:
            raise self._foreign(path)
        for number, record in enumerate(csv.DictReader(lines), start=2):
            try:
                self.rows.append(_row(record))
            except (TypeError, ValueError):
                raise ValueError(
                    f"{path}, line {number} is not a row of measurements; remove that line, and it "
                    "is measured anew."
                ) from None

    @staticmethod
    def _foreign(path: Path) -> ValueError:
        return ValueError(
            f"{path} exists and is not a table of drift measurements (columns "
            f"{', '.join(COLUMNS)}). Nothing was written; choose another csv_path."
        )

    def in_memory(self) -> "RowFile":
        """Return a copy that writes to no file, for ranks other than the first."""
        copy = RowFile()
        copy.rows = list(self.rows)
        return copy

    def check_fingerprint(self, stage: str, fingerprint: str) -> None:
        """Raise if the file holds rows of this stage from another model, configuration or seed.

        Raises:
            ValueError: Nothing has been written.
        """
        for row in self.rows:
            if row.stage == stage and row.fingerprint != fingerprint:
                raise ValueError(
                    f"{self.path} holds rows of stage {stage!r} measured with another model, "
                    f"configuration, metric or seed (fingerprint {row.fingerprint}, here "
                    f"{fingerprint}). Nothing was written; choose another csv_path, or move the "
                    "old file away to measure anew."
                )

    def find(self, stage: str, chip: int, t_inference_s: float) -> DriftRow | None:
        """Return the row of a chip and time, if it was measured."""
        for row in self.rows:
            if row.key == (stage, chip, t_inference_s):
                return row
        return None

    def append(self, row: DriftRow) -> None:
        """Keep a row, and write it to the file at once."""
        self.rows.append(row)
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self._complete_bytes == 0
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.truncate(self._complete_bytes)
            file.seek(self._complete_bytes)
            if new:
                file.write((",".join(COLUMNS) + "\n").encode())
            file.write(_line(row).encode())
            self._complete_bytes = file.tell()


def write_rows(path: str | Path, rows: Iterable[DriftRow]) -> None:
    """Write rows to a new CSV file in the form that :class:`RowFile` reads."""
    lines = [",".join(COLUMNS) + "\n", *(_line(row) for row in rows)]
    Path(path).write_text("".join(lines), encoding="utf-8")


def _line(row: DriftRow) -> str:
    values = dataclasses.astuple(row)
    return ",".join(repr(v) if isinstance(v, float) else _quoted(str(v)) for v in values) + "\n"


def _quoted(text: str) -> str:
    if any(sign in text for sign in ',"\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _row(record: dict[str, str]) -> DriftRow:
    return DriftRow(
        stage=record["stage"],
        chip=int(record["chip"]),
        t_inference_s=float(record["t_inference_s"]),
        metric=record["metric"],
        value=float(record["value"]),
        seed=int(record["seed"]),
        fingerprint=record["fingerprint"],
    )
