"""PNG, TIFF, PGM and JPEG mammograms; DICOM in disguise and broken ones."""

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.dicom.image import CataloguedFile, image_row
from pipeline.dicom.store import decode_crop
from pipeline.sections import Ingest


def row_of(path, **known):
    file = CataloguedFile("a", "p", known.get("laterality"), "CC", path.name, path.stat().st_size, None)
    return image_row(
        path.parent, file, Ingest(max_px=9999, exclude=["multi_frame"], max_rejected_fraction=1.0, seconds_per_file=120)
    )


@pytest.mark.parametrize(
    ("name", "bits"),
    [("a.png", 8), ("a.png", 16), ("a.tif", 8), ("a.tiff", 16), ("a.pgm", 8), ("a.pgm", 16), ("a.JPG", 8)],
)
def test_grey_images_are_read_at_their_depth(tmp_path, breast, name, bits):
    stored = (breast() // 16).astype(np.uint8) if bits == 8 else breast() * np.uint16(16)
    cv2.imwrite(str(tmp_path / name), stored, [cv2.IMWRITE_JPEG_QUALITY, 100])
    row = row_of(tmp_path / name, laterality="L")
    assert (row["status"], row["reason"], row["voi"], row["chest_wall"]) == ("ingested", None, "none", "left")
    crop = decode_crop(row["crop"], row["codec"])
    part = stored[row["box_top_px"] :, row["box_left_px"] :][: crop.shape[0], : crop.shape[1]].astype(int)
    inside = part > (60 if bits == 8 else 16_000)
    scale = 257 if bits == 8 else 1
    assert np.abs(crop[inside] / scale - part[inside]).max() <= (3 if name == "a.JPG" else 0)
    assert row["frame_height_px"] == 320 and row["spacing_mm"] is None and row["crop_spacing_mm"] is None


def test_colour_that_is_grey_and_colour_that_is_not(tmp_path, breast):
    grey = (breast() // 16).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    tinted = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    tinted[100, 10, 0] ^= 0xFF
    cv2.imwrite(str(tmp_path / "tinted.png"), tinted)
    assert row_of(tmp_path / "grey.png")["status"] == "ingested"
    assert row_of(tmp_path / "tinted.png")["reason"].startswith("photometric:")


def test_unusable_images_are_named(tmp_path, breast):
    cv2.imwrite(str(tmp_path / "whole.png"), breast())
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:400])
    cv2.imwrite(str(tmp_path / "cut.jpg"), (breast() // 16).astype(np.uint8))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-2000])
    (tmp_path / "text.png").write_bytes(b"no image")
    (tmp_path / "dicom.png").write_bytes(b"\0" * 128 + b"DICM")
    cv2.imwritemulti(str(tmp_path / "two.tif"), [breast(), breast()])
    reasons = {
        path.name: row_of(path)["reason"].partition(":")[0] for path in tmp_path.iterdir() if path.name != "whole.png"
    }
    assert reasons.pop("cut.jpg") == "decode"
    assert reasons.pop("cut.png") in ("decode", "not_an_image", "blank", "no_breast")
    assert reasons == {"text.png": "not_an_image", "dicom.png": "not_an_image", "two.tif": "multi_frame"}


def test_a_tiff_whose_zero_is_white(tmp_path, breast):
    dark = breast() * np.uint16(16)
    Image.fromarray(dark).save(tmp_path / "dark.tif")
    Image.fromarray(np.uint16(65535) - dark).save(tmp_path / "white.tif", tiffinfo={262: 0})
    one, two = row_of(tmp_path / "dark.tif"), row_of(tmp_path / "white.tif")
    assert two["photometric"] == "MONOCHROME1" and one["photometric"] is None
    assert one["crop"] == two["crop"] and two["flag"] is None and two["chest_wall"] == "left"


def test_what_opencv_says_of_a_broken_file_names_no_path(tmp_path, breast, capfd):
    for suffix in ("pgm", "png", "tif", "jpg"):
        cv2.imwrite(str(tmp_path / f"ROE_JANE.{suffix}"), (breast() // 16).astype(np.uint8))
        whole = (tmp_path / f"ROE_JANE.{suffix}").read_bytes()
        (tmp_path / f"ROE_JANE.{suffix}").write_bytes(whole[: len(whole) * 2 // 3])
        capfd.readouterr()
        assert "ROE" not in str(row_of(tmp_path / f"ROE_JANE.{suffix}")["reason"])
        said = capfd.readouterr()
        assert "ROE" not in said.out + said.err


def test_twelve_bits_in_sixteen_are_no_low_contrast(tmp_path, breast):
    cv2.imwrite(str(tmp_path / "a.png"), breast())
    assert row_of(tmp_path / "a.png")["flag"] is None


def test_an_image_larger_than_any_mammogram_is_not_decoded(tmp_path, monkeypatch):
    (tmp_path / "huge.pgm").write_bytes(b"P5 60000 60000 255\n" + b"\0" * 100)
    monkeypatch.setattr(cv2, "imdecode", lambda *a: pytest.fail("was decoded"))
    assert row_of(tmp_path / "huge.pgm")["reason"].startswith("too_large:")
