"""Merges the images of each breast into one row of annotations: unknown stays unknown, seen once is seen."""

import json

import pandas as pd

# ACR BI-RADS by concern. 0 asks for more images of something seen: more than 3 (watch), less than 4 (biopsy).
BIRADS_BY_CONCERN = (1, 2, 3, 0, 4, 5, 6)


def merge_breasts(images: pd.DataFrame, age_band_years: int) -> pd.DataFrame:
    """One row per breast (tables.ANNOTATIONS) from one row per image (tables.COHORT).

    mass, calcification, implant: union over the images (see merge_findings). density: the densest; birads: of the
    most concern; age, vendor and each extra annotation: of the first image that tells. views: the distinct views, such
    as `CC+MLO`.

    Args:
        images: Images of known side and view, with the catalog's column extra.
        age_band_years: Width of an age band, in years.
    """
    images = images.sort_values(["breast_id", "image_id"])
    ranked = images.assign(age_band=age_bands(images["age_years"], age_band_years))
    grouped = ranked.groupby("breast_id", sort=True)
    first = grouped[["cohort", "patient_id", "exam_id", "split", "laterality", "age_band", "vendor"]].first()
    merged = first.assign(
        views=grouped["view"].agg(lambda views: "+".join(sorted(set(views)))),
        density=grouped["density"].max(),
        birads=merge_birads(ranked["birads"], ranked["breast_id"]),
        extra=ranked.groupby("breast_id", sort=True)["extra"].agg(merge_extra).astype(pd.StringDtype()),
        **{name: merge_findings(ranked[name], ranked["breast_id"]) for name in ("implant", "mass", "calcification")},
    )
    return merged.reset_index()


def merge_birads(birads: pd.Series, owner: pd.Series) -> pd.Series:
    """The category of most concern of each owner (breast, image); null where none is known.

    >>> merge_birads(pd.Series([3, 0, None, 2], dtype="Int8"), pd.Series(["a", "a", "b", "c"])).tolist()
    [0, <NA>, 2]
    """
    concern = birads.map({grade: rank for rank, grade in enumerate(BIRADS_BY_CONCERN)}).astype("Int8")
    return concern.groupby(owner).max().map(dict(enumerate(BIRADS_BY_CONCERN))).astype("Int8")


def merge_findings(seen: pd.Series, breast_id: pd.Series) -> pd.Series:
    """Union over the images of a breast: yes if any says yes, no if all say no, else unknown (null).

    >>> seen = pd.Series([True, None, False, None, False, False], dtype="boolean")
    >>> merge_findings(seen, pd.Series([1, 1, 2, 2, 3, 3])).tolist()
    [True, <NA>, False]
    """
    yes = seen.fillna(False).astype(bool).groupby(breast_id).any()
    some_unknown = seen.isna().groupby(breast_id).any()
    return yes.astype(pd.BooleanDtype()).mask(~yes & some_unknown)


def merge_extra(cells: pd.Series) -> str | None:
    """Extra annotations of one breast's images (JSON objects or null): each from the first image that has it.

    >>> merge_extra(pd.Series(['{"site": "2"}', None, '{"site": "3", "subtype": "luminal"}']))
    '{"site": "2", "subtype": "luminal"}'
    """
    merged: dict[str, str] = {}
    for cell in cells.dropna():
        merged = json.loads(cell) | merged
    return json.dumps(merged, sort_keys=True) if merged else None


def age_bands(age_years: pd.Series, width_years: int) -> pd.Series:
    """Bands such as `50-59`, both ends included; null where the age is unknown.

    >>> age_bands(pd.Series([50, 59.9, None], dtype="Float64"), 10).tolist()
    ['50-59', '50-59', <NA>]
    """
    low = (age_years.astype("Float64") // width_years * width_years).astype("Int64")
    return low.astype(pd.StringDtype()) + "-" + (low + width_years - 1).astype(pd.StringDtype())
