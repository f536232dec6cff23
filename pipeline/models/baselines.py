"""Encoders that this run is measured against: published or random, each with a preparation of its own."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.models.initial import write_encoder
from pipeline.sections import Baseline, Preparation


def write_baselines(
    names: Sequence[str],
    baselines: Mapping[str, Baseline],
    preparations: Mapping[str, Preparation],
    seed: int,
    out: Path,
) -> None:
    """Writes the model of every baseline to out/<name>, and out/baselines.json: what each is, by name.

    Args:
        names: Which of the baselines; none is allowed.
        baselines: The profile's, by name.
        preparations: The profile's, by name; images have the size of the baseline's.
        seed: Of random weights.
        out: Folder to write.

    Raises:
        InputError: as `write_encoder`; the message begins with the baseline's name.
    """
    origins = {}
    for name in names:
        baseline = baselines[name]
        chosen = preparations[baseline.preparation]
        try:
            config = write_encoder(
                baseline.encoder, baseline.weights, chosen.height_px, chosen.width_px, seed, out / name
            )
        except InputError as error:
            raise InputError(f"baselines.{name}: {error}") from error
        origins[name] = {
            "encoder": config.encoder,
            "encoder_weights": config.encoder_weights,
            "preparation": baseline.preparation,
            "height_px": chosen.height_px,
            "width_px": chosen.width_px,
        }
    out.mkdir(parents=True, exist_ok=True)
    (out / "baselines.json").write_text(json.dumps(origins, indent=2) + "\n")
