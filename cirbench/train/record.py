"""What a run leaves to read: ``log.jsonl``, TensorBoard, and the bar on the screen."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

LOG = "log.jsonl"


class Record:
    """Writes what a stage measures; means over the steps since the last line.

    What a killed run noted of steps after ``start``, which are now taken again, is dropped.

    Args:
        run: the run's folder; None writes nothing (all processes but the first).
        stage: its name.
        start, stop: steps done before, and at the end.
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

            _forget(run / LOG, stage, start)
            self._file = open(run / LOG, "a", encoding="utf-8")  # noqa: SIM115
            # A folder for each stage: purging concerns everything in one.
            folder = run / "tensorboard" / stage
            _wait_for_a_name(folder)
            self._board = SummaryWriter(str(folder), purge_step=start + 1)  # type: ignore[no-untyped-call]

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
            pace = f"{speed:.2f} it/s" if speed >= 1 else f"{1 / speed:.2f} s/it"
            print(
                f"{self.stage} {step}/{self._stop}: loss {means['loss']:.4f}, {pace}, "
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


def _wait_for_a_name(folder: Path) -> None:
    """Wait until no event file bears this second.

    TensorBoard reads files in the order of their names, which start with the second they were
    made in: two of one second may be read, and purged, the wrong way round.
    """
    while any(folder.glob(f"events.out.tfevents.{int(time.time()):010d}.*")):
        time.sleep(0.05)


def _forget(log: Path, stage: str, step: int) -> None:
    """Drop a stage's lines of later steps, and any that was cut off; other stages' stay."""
    if not log.is_file():
        return
    lines = log.read_text(encoding="utf-8").splitlines()
    part = log.with_suffix(".part")
    part.write_text("".join(f"{one}\n" for one in lines if _stays(one, stage, step)), "utf-8")
    os.replace(part, log)


def _stays(line: str, stage: str, step: int) -> bool:
    try:
        row = json.loads(line)
        return bool(row["stage"] != stage or row["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
