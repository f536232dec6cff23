"""Race in EMBED's clinical table: the words of its records become tables.RACES.

The README of the release (section VI) calls the column RACE_DESC, the owners' notebooks read it as ETHNICITY_DESC; the
words are those of the notebook screening_label_assignment and of public code that lists the release's values.
ETHNIC_GROUP_DESC, Hispanic or not, is no race and is not read.
"""

import pandas as pd

from pipeline.cohorts.adapters.cells import Cells
from pipeline.cohorts.adapters.reading import agreed_race, unknown

COLUMNS = ("RACE_DESC", "ETHNICITY_DESC")
WORDS = {
    "Caucasian or White": "White",
    "African American  or Black": "Black or African American",  # two spaces; the notebook makes them one
    "African American or Black": "Black or African American",
    "Asian": "Asian",
    "Native Hawaiian or Other Pacific Islander": "Native Hawaiian or Other Pacific Islander",
    "American Indian or Alaskan Native": "American Indian or Alaska Native",
    "Multiple": "Multiple",
    **dict.fromkeys(("Unknown, Unavailable or Unreported", "Not Recorded", "Patient Declines")),
}


def read_race(clinical: Cells, patient_id: pd.Series) -> pd.Series:
    """Race of the patient of every image, of the first of COLUMNS that the table has; null if it has neither.

    Args:
        clinical: The table.
        patient_id: Of every image.
    """
    column = next((name for name in COLUMNS if name in clinical.rows.columns), None)
    if column is None:
        return unknown(patient_id.index, "string")
    table = clinical._replace(names={"race": column})
    return patient_id.map(agreed_race(table, table.coded("race", WORDS), table.key("empi_anon"))).astype("string")
