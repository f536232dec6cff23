"""Maps from the scores of a model to probabilities, fitted on the validation split and applied to test scores."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from pipeline.evaluation.scored import Scored
from pipeline.metrics.recalibration import isotonic, platt
from pipeline.sections import Calibration

ToChance = Callable[[np.ndarray], np.ndarray]
Maps = Mapping[tuple[str, str, str], Sequence[ToChance]]
FITS: dict[Calibration, Callable[[np.ndarray, np.ndarray], ToChance]] = {"platt": platt, "isotonic": isotonic}


def calibration_maps(validation: Sequence[Scored], calibration: Calibration) -> Maps:
    """The map of every training seed.

    Args:
        validation: Units of the validation split of binary tasks, as `scored.validation_as_test` names them; no test
            label is among them.
        calibration: Platt's map or isotonic regression.

    Returns:
        By (task, setting, encoder), a map per seed in ascending order. A setting that was not scored on validation is
        missing, as is one whose known validation labels are of one class, or where all scores of a seed are equal.
    """
    return {
        unit.model: [FITS[calibration](unit.labels, scores) for scores in unit.scores]
        for unit in validation
        if len(np.unique(unit.grades)) == 2 and (np.ptp(unit.scores, axis=1) > 0).all()
    }


def mapped(unit: Scored, maps: Maps) -> Float64[np.ndarray, "seed unit"]:
    """The probabilities of a setting's units, each seed's scores through the seed's own map.

    Raises:
        KeyError: its model has no map.
    """
    return np.stack([to_chance(scores) for to_chance, scores in zip(maps[unit.model], unit.scores, strict=True)])
