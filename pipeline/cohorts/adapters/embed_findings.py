"""EMBED's clinical table, one row per finding of an exam, becomes what is known of each breast and exam.

Rules: README of the release (https://github.com/Emory-HITI/EMBED_Open_Data), sections VI, VIII and IX, its notebooks
Sample_Notebook (which codes are masses and calcifications) and screening_label_assignment (implied negatives, addended
exams), and its AWS_Open_Data_Clinical_Legend.csv (codes). Deviations are said where they are made.
"""

import pandas as pd

from pipeline.cohorts.adapters.cells import OLDEST_YEARS, Cells
from pipeline.cohorts.adapters.reading import breast_ids
from pipeline.cohorts.breasts import merge_birads, merge_findings
from pipeline.tables import LATERALITIES

KEYS = ("empi_anon", "acc_anon", "desc", "side", "asses")
DESCRIPTORS = ("massshape", "massmargin", "massdens", "calcfind", "calcdistri")
# Absent from a reduced table: then what they tell is unknown.
MAY_LACK = (*DESCRIPTORS, "calcnumber", "implanfind", "bside", "path_severity", "tissueden", "age_at_study")
SIDES = ("L", "R", "B")
ASSESSMENTS = {"N": "1", "B": "2", "P": "3", "A": "0", "S": "4", "M": "5", "K": "6", "X": None}  # X: no assessment
# 5 is a normal male breast. Whole numbers, written as such or, where pandas met an empty cell, with a point.
DENSITIES = {code + point: grade for code, grade in zip("12345", [*"ABCD", None], strict=True) for point in ("", ".0")}
# Letters describe an implant's state; 1 and 0 occur where an exporter made a flag of them.
IMPLANTS = {**dict.fromkeys((*"ANCDFHRSTK", "1", "1.0"), "yes"), "0": None, "0.0": None}
# Deviation: Sample_Notebook counts lymph nodes (N, Y) as masses; BI-RADS lists them apart from masses, as VinDr does.
# D and L: in the notebook, not in the legend.
SHAPES = {
    **dict.fromkeys("GROXDL", "mass"),
    **dict.fromkeys("NY", "lymph node"),
    **dict.fromkeys("TBSFV", "asymmetry"),
    **dict.fromkeys("QA", "architectural distortion"),
}
MARGINS, DENSE, FATTY = "DUMIS", "+-=", "0"  # fat alone makes no mass in the notebook
MOST_CALCIFICATIONS = 10_000  # beyond it the count is a typing error
# README, section VI: 0 invasive, 1 non-invasive cancer, 2 high-risk, 3 borderline, 4 benign, 5 normal tissue. 6 is a
# cancer, but none of the breast: neither.
MALIGNANT = {0: True, 1: True, 2: False, 3: False, 4: False, 5: False}


def read_findings(clinical: Cells, known: pd.Series) -> pd.DataFrame:
    """One row per finding and breast to which it belongs: side L or R, both where side is B or empty.

    A bilateral exam with findings on one side implies a negative other breast (BI-RADS 1, no findings), since the table
    has rows for findings only. Exams with an illegible side are left out: their findings belong to no known breast.

    Args:
        clinical: The table.
        known: Which of its rows belong to an exam with images.

    Returns:
        exam_id, laterality, breast_id, birads, kinds (list), mass, calcification, implant (yes or null), biopsied,
        malignant (null where not biopsied or not told), addended.
    """
    exam = clinical.key("acc_anon")
    side, bside = clinical.choice("side", SIDES), clinical.choice("bside", SIDES)
    elsewhere = side.isin(LATERALITIES) & bside.isin(LATERALITIES) & (side != bside)
    severity = clinical.whole("path_severity", 0, 6)
    clinical.note(elsewhere & severity.notna(), "bside", "the side of the finding", "contradiction")
    birads = clinical.coded("asses", ASSESSMENTS).astype("Int64")
    desc = clinical.text("desc").str.lower().fillna("")
    rows = pd.DataFrame(
        {
            "exam_id": exam,
            "laterality": side.fillna("B").map({"L": "L", "R": "R", "B": "LR"}).map(list),
            "birads": birads,
            **_descriptions(clinical, birads),
            "implant": clinical.coded("implanfind", IMPLANTS),
            "side": side,
            "bside": bside,
            "severity": severity,
            "addended": _addended(clinical, desc, birads, severity),
            "bilateral": desc.str.contains("bilat"),
        }
    )
    illegible = exam[clinical.text("side").notna() & side.isna()]
    rows = rows[known & ~exam.isin(illegible)].explode("laterality", ignore_index=True)
    rows = pd.concat([rows.assign(**_pathology(rows)), _implied_negatives(rows)], ignore_index=True)
    rows["breast_id"] = breast_ids(rows["exam_id"], rows["laterality"].astype("string"))
    return rows.drop(columns=["side", "bside", "severity", "bilateral"])


def _addended(clinical: Cells, desc: pd.Series, birads: pd.Series, severity: pd.Series) -> pd.Series:
    """Screening findings called negative or benign, and yet biopsied: the notebook's review found them addended."""
    addended = desc.str.contains("screen") & birads.isin([1, 2]) & severity.notna()
    clinical.note(addended, "asses", "an assessment that explains a biopsy (not N or B)", "contradiction")
    return addended


def _descriptions(clinical: Cells, birads: pd.Series) -> dict[str, pd.Series]:
    """kinds, mass and calcification of every row, by Sample_Notebook.

    Unknown, never absent: what an illegible cell may tell; and all of a row that is not negative (BI-RADS 1) and
    describes nothing, where the notebook counts both as absent.
    """
    shape = clinical.coded("massshape", SHAPES)
    margin = clinical.choice("massmargin", MARGINS)
    density = clinical.choice("massdens", DENSE + FATTY)
    number = clinical.whole("calcnumber", 0, MOST_CALCIFICATIONS)
    cells = pd.DataFrame({name: clinical.text(name).notna() for name in DESCRIPTORS})
    mass = ((shape == "mass").fillna(False) | margin.notna() | density.isin(list(DENSE))) & ~(
        shape == "lymph node"
    ).fillna(False)
    calcification = cells["calcfind"] | cells["calcdistri"] | (number > 0).fillna(False)
    silent = ~(cells.any(axis=1) | calcification) & ~(birads == 1).fillna(False)
    garbled = (
        (cells["massshape"] & shape.isna())
        | (cells["massmargin"] & margin.isna())
        | (cells["massdens"] & density.isna())
    )
    uncounted = clinical.text("calcnumber").notna() & number.isna()
    kinds = pd.DataFrame({"mass": mass, "calcification": calcification})
    for kind in sorted(set(SHAPES.values()) - {"mass"}):
        kinds[kind] = (shape == kind).fillna(False)
    names = kinds.columns.to_numpy()
    return {
        "kinds": pd.Series([list(names[seen]) for seen in kinds.to_numpy(dtype=bool)], index=kinds.index),
        "mass": mass.astype("boolean").mask(~mass & (silent | garbled)),
        "calcification": calcification.astype("boolean").mask(~calcification & (silent | uncounted)),
    }


def _pathology(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Whether this breast was biopsied, and with which result, where the side of the biopsy is clear.

    bside tells it, or side where bside is empty. Where the two contradict each other, or a finding of both breasts has
    no bside, the result may be either breast's: unknown, and no other finding proves a breast of that exam benign.
    """
    one_sided = rows["side"].isin(LATERALITIES)
    own = (rows["bside"] == rows["laterality"]) | (rows["bside"] == "B")
    own = own.fillna(False).astype(bool) | (rows["bside"].isna() & one_sided)
    biopsied = rows["severity"].notna() & (own | one_sided | rows["bside"].isna())
    unclear = rows["exam_id"].isin(rows.loc[biopsied & ~own, "exam_id"])
    result = rows["severity"].map(MALIGNANT).astype("boolean").where(biopsied & own)
    benign = (~result).fillna(False).astype(bool)
    return {"biopsied": biopsied, "malignant": result.mask(benign & unclear), "addended": rows["addended"] & biopsied}


def _implied_negatives(rows: pd.DataFrame) -> pd.DataFrame:
    """The breasts of bilateral exams that have no row, because nothing was found in them."""
    exams = rows[rows["bilateral"]].groupby("exam_id")["laterality"].agg(["min", "max"])
    one_sided = exams.loc[exams["min"] == exams["max"], "min"]
    return pd.DataFrame(
        {
            "exam_id": one_sided.index.astype("string"),
            "laterality": one_sided.map({"L": "R", "R": "L"}).to_numpy(),
            "birads": pd.array([1] * len(one_sided), dtype="Int64"),
            "kinds": [[] for _ in one_sided],
            "mass": pd.array([False] * len(one_sided), dtype="boolean"),
            "calcification": pd.array([False] * len(one_sided), dtype="boolean"),
            "biopsied": False,
            "addended": False,
        }
    )


def merge_by_breast(findings: pd.DataFrame) -> pd.DataFrame:
    """What all findings of a breast say of it; the index is breast_id.

    mass, calcification, malignant: yes if any finding says yes, no if all say no, else unknown. malignant looks at
    biopsied findings alone: a breast without pathology is unknown, whatever its assessment. birads: of the most
    concern; unknown where it is negative or benign and a screening finding was biopsied, for such exams were addended
    after the export. other_findings: what is neither mass nor calcification.
    """
    key = findings["breast_id"]
    worst = merge_birads(findings["birads"], key)
    addended = findings["addended"].groupby(key).any()
    biopsied = findings[findings["biopsied"]]
    kinds = findings[["breast_id", "kinds"]].explode("kinds").drop_duplicates().dropna().sort_values("kinds")
    others = kinds[~kinds["kinds"].isin(["mass", "calcification"])]
    return pd.DataFrame(
        {
            "birads": worst.mask(worst.isin([1, 2]) & addended),
            "mass": merge_findings(findings["mass"], key),
            "calcification": merge_findings(findings["calcification"], key),
            "malignant": merge_findings(biopsied["malignant"], biopsied["breast_id"]),
            "implant": findings["implant"].groupby(key).first() == "yes",
            "other_findings": others.groupby("breast_id")["kinds"].agg(", ".join).astype("string"),
        }
    )


def read_exams(clinical: Cells, known: pd.Series) -> pd.DataFrame:
    """density, age_years and exam (screening, diagnostic or null) of every exam with images; the index is exam_id.

    Each is repeated in every row of an exam; densities that differ count as unknown.
    """
    exam, desc = clinical.key("acc_anon"), clinical.text("desc").str.lower()
    density = clinical.coded("tissueden", DENSITIES)
    differs = density.groupby(exam).transform("nunique") > 1
    clinical.note(differs, "tissueden", "one density per exam", "contradiction")
    kind = desc.str.extract("(screen|diag)", expand=False).map({"screen": "screening", "diag": "diagnostic"})
    age = clinical.number("age_at_study", 0, OLDEST_YEARS)
    rows = pd.DataFrame({"density": density.mask(differs), "age_years": age, "exam": kind})
    return rows[known].groupby(exam[known]).first()
