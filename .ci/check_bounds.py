"""Fails when a metric of the demo lies outside its committed bounds: check_bounds.py metrics.json bounds.json."""

import json
import sys
from pathlib import Path
from typing import Any


def value_at(metrics: dict[str, Any], key: str) -> Any:
    """The leaf that a key like `mass_vindr/test/lp/100/pretrained/auc` names."""
    place: Any = metrics
    for part in key.split("/"):
        if part not in place:
            sys.exit(f"bounds: {key}: metrics.json has no {part!r} there; it has {sorted(place)}")
        place = place[part]
    return place


def main(metrics_file: str, bounds_file: str) -> None:
    """Prints one line a bound and exits 1 if any is missed."""
    metrics = json.loads(Path(metrics_file).read_text())
    bounds = json.loads(Path(bounds_file).read_text())
    outside = []
    for key, (low, high) in bounds.items():
        value = value_at(metrics, key)
        inside = isinstance(value, int | float) and low <= value <= high
        print(f"{'ok  ' if inside else 'FAIL'} {key}: {value} in [{low}, {high}]")
        if not inside:
            outside.append(key)
    print(f"{len(bounds) - len(outside)} passed, {len(outside)} failed")
    sys.exit(1 if outside else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
