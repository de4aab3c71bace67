"""What a run leaves to read: ``log.jsonl``, TensorBoard, and the bar on the screen."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tqdm import tqdm


class Record:
    """Writes what a stage measures; means over the steps since the last line.

    Args:
        run: the run's folder; None writes nothing (all processes but the first).
        stage: its name.
        start, stop: steps.
        images: per step.
        every: steps between two lines.
    """

    def __init__(
        self, run: Path | None, stage: str, start: int, stop: int, images: int, every: int
    ) -> None:
        self.stage, self.images, self.every = stage, images, every
        self._sums: dict[str, float] = defaultdict(float)
        self._count, self._since, self._stop = 0, time.perf_counter(), stop
        quiet = True if run is None else None  # None: quiet when not a terminal
        self.bar: Any = tqdm(
            total=stop, initial=start, unit="it", desc=stage, disable=quiet, file=sys.stderr
        )
        self._file: Any = None
        self._board: Any = None
        if run is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._file = open(run / "log.jsonl", "a", encoding="utf-8")  # noqa: SIM115
            self._board = SummaryWriter(str(run / "tensorboard"))  # type: ignore[no-untyped-call]

    def add(self, step: int, values: dict[str, float], rate: float) -> None:
        """What step number ``step`` (1 is the first) measured."""
        for name, value in values.items():
            self._sums[name] += value
        self._count += 1
        self.bar.update()
        self.bar.set_postfix_str(f"loss {values['loss']:.4f}", refresh=False)
        if step % self.every == 0 or step == self._stop:
            self._line(step, rate)

    def _line(self, step: int, rate: float) -> None:
        now = time.perf_counter()
        means = {name: total / self._count for name, total in self._sums.items()}
        speed = self._count / (now - self._since)
        row = {"stage": self.stage, "step": step, **means, "rate": rate}
        row |= {"it_per_s": speed, "images_per_s": speed * self.images}
        self._sums.clear()
        self._count, self._since = 0, now
        if self._file is None:
            return
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in row.items():
            if name not in ("stage", "step"):
                self._board.add_scalar(f"{self.stage}/{name}", value, step)
        if self.bar.disable:
            left = (self._stop - step) / speed
            print(
                f"{self.stage} {step}/{self._stop}: loss {means['loss']:.4f}, {speed:.2f} it/s, "
                f"{left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def picture(self, name: str, step: int, pixels: Any) -> None:
        """A grid, uint8 (H, W, 3), for TensorBoard."""
        if self._board is not None:
            self._board.add_image(f"{self.stage}/{name}", pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Finish bar and files."""
        self.bar.close()
        if self._file is not None:
            self._file.close()
            self._board.close()
