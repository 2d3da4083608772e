"""What every script shares: a log of runs that can go on where it stopped, and tables made from it."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
Row = dict[str, Any]


class Runs:
    """Runs in a JSONL file, a run a line: name, settings, seed, metrics or error, commit, machine, time.

    A failed run is logged too, with ``error`` in place of metrics; it does not count as done and enters no table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.rows: list[Row] = [json.loads(line) for line in lines if line.strip()]

    def done(self, settings: Mapping[str, Any], seed: int = 0, *, metrics: Mapping[str, Any] | None = None) -> bool:
        """Whether a run with these settings and seed has succeeded; ``metrics``: and has these among its own."""
        known = (metrics or {}).items()
        return any(
            _same(row, settings, seed) and "metrics" in row and known <= row["metrics"].items() for row in self.rows
        )

    def append(
        self,
        settings: Mapping[str, Any],
        seed: int = 0,
        metrics: Mapping[str, float | int | str] | None = None,
        *,
        error: str = "",
    ) -> None:
        """Log a run: ``metrics`` if it succeeded, else ``error``."""
        outcome: Row = {"metrics": dict(metrics)} if metrics is not None else {"error": error}
        row = {"settings": dict(settings), "seed": seed, **outcome, **_circumstances()}
        self.rows.append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(row, ensure_ascii=False) + "\n")

    def table(self, columns: Sequence[str] = ()) -> str:
        """A Markdown table: a row for each setting in order of appearance, its metrics as mean ± sd (n) over seeds.

        Args:
            columns: names of settings and metrics to show, in this order; none shows all.
        """
        grouped = self._grouped()
        if not grouped:
            return "Not measured yet."
        settings = list(dict.fromkeys(name for rows in grouped.values() for name in rows[0]["settings"]))
        metrics = list(dict.fromkeys(name for rows in grouped.values() for row in rows for name in row["metrics"]))
        shown = list(columns) or settings + metrics
        unknown = [name for name in shown if name not in settings and name not in metrics]
        if unknown:
            raise ValueError(f"{self.path}: no column {unknown[0]!r}; there are {', '.join(settings + metrics)}")
        lines = [shown, ["---:" if name in metrics else "---" for name in shown]]
        lines += [[_cell(name, rows) for name in shown] for rows in map(_latest, grouped.values())]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def cell(self, metric: str, settings: Mapping[str, Any]) -> str:
        """``metric`` as the table shows it, of the one setting that has all of ``settings``.

        Raises:
            ValueError: no setting has them, or more than one; or the metric is not in the log.
        """
        found = [rows for rows in self._grouped().values() if settings.items() <= rows[0]["settings"].items()]
        if len(found) != 1 or not any(metric in row["metrics"] for row in found[0]):
            raise ValueError(f"{self.path}: {len(found)} settings have {dict(settings)}, or none has {metric!r}")
        return _cell(metric, _latest(found[0]))

    def _grouped(self) -> dict[str, list[Row]]:
        """Runs that succeeded, by their settings."""
        grouped: dict[str, list[Row]] = {}
        for row in self.rows:
            if "metrics" in row:
                grouped.setdefault(json.dumps(row["settings"], sort_keys=True), []).append(row)
        return grouped


def _latest(rows: Sequence[Row]) -> list[Row]:
    """A run repeated counts once, as it last was."""
    return list({row["seed"]: row for row in rows}.values())


def _same(row: Row, settings: Mapping[str, Any], seed: int) -> bool:
    # through JSON, so that a tuple equals the list it was written as
    return bool(row["settings"] == json.loads(json.dumps(dict(settings))) and row["seed"] == seed)


def _cell(name: str, rows: Sequence[Row]) -> str:
    if name in rows[0]["settings"]:
        return str(rows[0]["settings"][name])
    values = [row["metrics"][name] for row in rows if name in row["metrics"]]
    if not values:
        return "–"
    if len(values) == 1 or not all(isinstance(value, int | float) for value in values):
        return _number(values[-1])
    return f"{_number(statistics.fmean(values))} ± {_number(statistics.stdev(values))} ({len(values)})"


def _number(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _circumstances() -> Row:
    root = Path(__file__).resolve().parents[1]
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else ""
    return {
        "commit": head.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores" + (f", {gpu}" if gpu else ""),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
