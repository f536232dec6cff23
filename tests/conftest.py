"""Every test runs offline, with shapes checked (jaxtyping + beartype) in the whole library."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

install_import_hook(
    [f"pipeline.{name}" for name in ("metrics", "objectives", "models", "training", "downstream", "dicom", "shards")],
    "beartype.beartype",
)
