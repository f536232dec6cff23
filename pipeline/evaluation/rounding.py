"""How numbers enter metrics.json: four decimals, and null with a flag where too few patients support one."""

import math
from typing import Any

from pipeline.metrics.bootstrap import MIN_PATIENTS, Interval

DECIMALS = 4  # as the published tables; finer differences are noise between machines


def rounded(value: float) -> float | None:
    """Four decimals, never -0.0; None for NaN, which JSON has no word for."""
    return None if math.isnan(value) else round(float(value), DECIMALS) + 0.0


def interval_metrics(name: str, interval: Interval) -> dict[str, Any]:
    """A statistic and its interval under stable keys; unsupported ones are null and say why."""
    entry: dict[str, Any] = {
        name: rounded(interval.value),
        "low": rounded(interval.low),
        "high": rounded(interval.high),
    }
    if not interval.is_supported:
        entry["flag"] = f"fewer than {MIN_PATIENTS} patients on one side"
    return entry
