"""Reads one archive with its dataset's adapter and writes the canonical tables of its images, findings and problems."""

import stat
import sys
from pathlib import Path

import pandas as pd

from pipeline.cohorts.adapters import cbis_ddsm, cmmd, embed, inbreast, rsna, table, vindr
from pipeline.cohorts.problems import Problems, sentence
from pipeline.cohorts.tree import files_below
from pipeline.dicom.pseudonyms import encrypted, is_encrypted, site_key, with_pseudonyms
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import CATALOG, FINDINGS, PROBLEMS, write_table

_ADAPTERS = {
    "table": table.read,
    "vindr": vindr.read,
    "rsna": rsna.read,
    "embed": embed.read,
    "cbis_ddsm": cbis_ddsm.read,
    "cmmd": cmmd.read,
    "inbreast": inbreast.read,
}
# What may be a mammogram; other files beside the images (tables, licences) are nobody's loss.
IMAGE_SUFFIXES = (".dcm", ".dicom", ".png", ".tif", ".tiff", ".pgm", ".jpg", ".jpeg")


def catalog(cohort: str, archive: Archive, root: Path, out: Path) -> None:
    """Writes images.parquet (tables.CATALOG), findings.parquet (FINDINGS) and problems.parquet (PROBLEMS) into out.

    Args:
        cohort: Name of the cohort.
        archive: Its entry in the profile.
        root: The archive's folder.
        out: Folder to write.

    Raises:
        InputError: the root is empty, a table is missing, no file exists, or a problem is one of archive.fatal.
    """
    if not root.is_dir() or not any(root.iterdir()):
        raise InputError(f"archives.{cohort}.root: expected a folder with the dataset, found nothing; check the path")
    problems = Problems(quoting=archive.identifiers == "published")
    images, findings, others = _ADAPTERS[archive.adapter](root, archive, problems)
    images = images.assign(cohort=cohort, size_bytes=_sizes(images["path"], others, root, archive, problems))
    if archive.identifiers == "keyed":
        images, findings = (with_pseudonyms(rows, site_key()) for rows in (images, findings))
    images = _one_split(_unique(_existing(images, cohort, problems), problems), problems).sort_values("image_id")
    for problem in problems.found:
        print(f"{cohort}: {sentence(problem)}", file=sys.stderr)
    problems.refuse(cohort, archive.fatal)
    findings = findings[findings["image_id"].isin(images["image_id"])].sort_values(["image_id", "kind", "top_px"])
    write_table(images, out / "images.parquet", CATALOG)
    write_table(findings, out / "findings.parquet", FINDINGS)
    write_table(problems.table(), out / "problems.parquet", PROBLEMS)


def _sizes(paths: pd.Series, others: frozenset[str], root: Path, archive: Archive, problems: Problems) -> pd.Series:
    """Size of each file in bytes, null where there is none; files that no table accounts for are a problem."""
    found = _image_files(root, problems)
    strangers = sorted(found.keys() - set(paths) - others)
    keyed = archive.identifiers == "keyed"  # a path may hold a name or a date
    problems.note("file_without_row", "image files", [encrypted(site_key(), p) if keyed else p for p in strangers])
    return paths.map(lambda path: found[path] if path in found else _size(root / path)).astype("Int64")


def _image_files(root: Path, problems: Problems) -> dict[str, int]:
    """Size of every image file below the root by its relative path; folders that cannot be read are a problem."""
    unreadable: list[OSError] = []
    sizes = {file: _size(file) for file in files_below(root, IMAGE_SUFFIXES, unreadable.append)}
    problems.note("unreadable_folder", "folders below the root", [type(error).__name__ for error in unreadable])
    return {file.relative_to(root).as_posix(): size for file, size in sizes.items() if size is not None}


def _size(file: Path) -> int | None:
    """Size in bytes, or None where there is no file."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _existing(images: pd.DataFrame, cohort: str, problems: Problems) -> pd.DataFrame:
    """Leaves out rows without a file.

    Raises:
        InputError: no file exists.
    """
    missing = images["size_bytes"].isna()
    if missing.all():
        examples = [path for path in images["path"].head(3) if not is_encrypted(path)]
        expected = f"; expected for example {', '.join(examples)}" if examples else ""
        raise InputError(
            f"{cohort}: none of the {len(images)} files that the table names exists under the root{expected};"
            " check that the root is right and the download complete"
        )
    problems.note("row_without_file", "rows of the tables", images.loc[missing, "image_id"])
    return images[~missing]


def _unique(images: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """Keeps the first row of every image."""
    repeated = images["image_id"].duplicated()
    problems.note("duplicate_image", "rows of the tables", images.loc[repeated, "image_id"])
    return images[~repeated]


def _one_split(images: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """Moves patients of two source splits to test as a whole, so that no training split ever sees a test patient."""
    splits = images.groupby("patient_id")["source_split"].nunique(dropna=False)
    torn = splits.index[splits > 1]
    problems.note("patient_in_two_splits", "the dataset's own split", torn)
    return images.assign(source_split=images["source_split"].mask(images["patient_id"].isin(torn), "test"))
