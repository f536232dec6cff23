"""Adapter for the RSNA screening mammography challenge: train.csv and train_images/<patient>/<image>.dcm.

Source: https://www.kaggle.com/competitions/rsna-breast-cancer-detection (data page).
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.cohorts.adapters.csv_cells import breast_ids, read_csv, refuse_columns, unknown
from pipeline.tables import DENSITIES, LATERALITIES

FILE = "train.csv"
COLUMNS = (
    "patient_id",
    "image_id",
    "laterality",
    "view",
    "age",
    "cancer",
    "BIRADS",
    "implant",
    "density",
    "machine_id",
)
# Data page: 0 needs follow-up, 1 negative, 2 normal; given at site 1 only.
BIRADS = (0, 2)
# As in the table adapter: wide enough for any person.
OLDEST_YEARS = 120


def read(root: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Reads train.csv, which has one exam per patient; views other than CC and MLO keep their names.

    Args:
        root: Folder that holds train.csv and train_images/.
        columns: Must be empty.

    Returns:
        The columns of tables.CATALOG but cohort and size_bytes, one row per image.

    Raises:
        InputError: the file or a column is missing, or a cell is out of range.
    """
    refuse_columns(columns, "rsna")
    table = read_csv(root, FILE, COLUMNS)
    patient, image = table.key("patient_id"), table.key("image_id")
    laterality = table.choice("laterality", LATERALITIES)
    index = table.rows.index
    return pd.DataFrame(
        {
            "patient_id": patient,
            "exam_id": patient,
            "exam_day": 0,
            "breast_id": breast_ids(patient, laterality),
            "image_id": image,
            "laterality": laterality,
            "view": table.text("view").str.upper(),
            "path": "train_images/" + patient + "/" + image + ".dcm",
            "age_years": table.number("age", 0, OLDEST_YEARS),
            "implant": table.boolean("implant"),
            "vendor": "machine " + table.text("machine_id"),
            "mass": unknown(index, "boolean"),
            "calcification": unknown(index, "boolean"),
            "malignant": table.boolean("cancer"),
            "density": table.choice("density", DENSITIES),
            "birads": table.whole("BIRADS", *BIRADS),
            "years_to_cancer": unknown(index, "Float64"),
            "years_followed": unknown(index, "Float64"),
            "source_split": unknown(index, "string"),
        }
    )
