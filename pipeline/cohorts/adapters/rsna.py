"""Adapter for the RSNA screening mammography challenge: train.csv and train_images/<patient>/<image>.dcm.

Source: https://www.kaggle.com/competitions/rsna-breast-cancer-detection (data page).
"""

from pathlib import Path

import pandas as pd

from pipeline.cohorts.adapters.cells import OLDEST_YEARS, read_cells
from pipeline.cohorts.adapters.reading import Reading, breast_ids, extra_of, no_findings, refuse_options, with_unknown
from pipeline.cohorts.problems import Problems
from pipeline.sections import Archive
from pipeline.tables import DENSITIES, LATERALITIES

FILE = "train.csv"
EXTRA = ("site_id", "biopsy", "invasive")  # kept for whoever studies them
COLUMNS = (
    "patient_id", "image_id", "laterality", "view", "age", "cancer", "BIRADS", "implant", "density", "machine_id",
    *EXTRA,
)  # fmt: skip
# Data page: 0 needs follow-up, 1 negative, 2 normal; given at site 1 only.
BIRADS = (0, 2)


def read(root: Path, archive: Archive, problems: Problems) -> Reading:
    """Reads train.csv, which has one exam per patient; views other than CC and MLO keep their names.

    Args:
        root: Folder that holds train.csv and train_images/.
        archive: Its entry in the profile.
        problems: Takes what is wrong with the cells.

    Raises:
        InputError: the file or a column is missing, or a row has no id.
    """
    refuse_options(archive)
    table = read_cells(root, FILE, COLUMNS, problems)
    patient, image = table.key("patient_id"), table.key("image_id")
    laterality = table.choice("laterality", LATERALITIES)
    images = pd.DataFrame(
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
            "malignant": table.boolean("cancer"),
            "density": table.choice("density", DENSITIES),
            "birads": table.whole("BIRADS", *BIRADS),
            "extra": extra_of({name: table.text(name) for name in EXTRA}),
        }
    )
    return Reading(with_unknown(images), no_findings())
