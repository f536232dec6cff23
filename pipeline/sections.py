"""One frozen, strictly typed model per section of params.yaml and of conf/profile/<profile>.yaml; no defaults."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationInfo, field_validator

Fraction = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Label = Literal["mass", "calcification", "malignant", "density", "birads"]
# What reports may speak of beside laterality and an archive's own `extra`; in prompts they stand in the order of
# reports.prompt.KEYS.
ANNOTATION_KEYS = ("age_band", "views", "implant", "vendor", "density", "mass", "calcification", "birads")
# What each one compares: pipeline/models/methods.py.
Method = Literal[
    "mv_clip_tr", "mv_clip", "clip_tr", "clip", "siglip", "mama", "supervised", "simclr", "swav", "dino", "byol", "none"
]
# The encoders that a run makes itself; every other name of an encoder is a baseline's.
ENCODERS = ("pretrained", "initial")
WITH_TEXT = ("mv_clip_tr", "mv_clip", "clip_tr", "clip", "siglip", "mama")
Adapter = Literal["table", "vindr", "rsna", "embed", "cbis_ddsm", "cmmd", "inbreast"]
# What can be wrong with an archive (pipeline/cohorts/problems.py says what becomes of each record).
ProblemKind = Literal[
    "row_without_file", "file_without_row", "duplicate_image", "patient_in_two_splits", "unknown_value",
    "contradiction", "row_without_image", "unreadable_folder",
]  # fmt: skip
Calibration = Literal["platt", "isotonic"]
# Why an image may be left out, told by its tags (pipeline/dicom/header.py) or by its dataset's tables.
Exclusion = Literal[
    "not_mammography", "for_processing", "tomosynthesis", "multi_frame", "synthetic_2d", "implant_displaced",
    "magnification", "spot_compression", "partial_view", "specimen", "biopsy", "stereo",
]  # fmt: skip
V = TypeVar("V")


class Section(BaseModel):
    """Unknown keys are refused, values are never coerced, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Task(Section):
    """A label to predict from one cohort's images, also scored untrained on other cohorts."""

    cohort: Name
    label: Label
    unit: Literal["image"]
    kind: Literal["binary", "ordinal"]
    score_on: list[Name]


class Model(Section):
    """The image encoder: a timm name or `auto`, and whether it starts from the profile's weights."""

    encoder: str
    weights: Literal["auto", "random"]


class Filter(Section):
    """The exclusions, and the patient-level splits."""

    validation_fraction: Share
    test_fraction: Share
    exclude_implants: bool
    age_band_years: PositiveInt


class Reports(Section):
    """Who writes the pseudo reports, tries per prompt before the template takes over, different reports per prompt."""

    engine: Literal["llm", "template"]
    attempts: PositiveInt
    variants: PositiveInt


class Pretrain(Section):
    """The contrastive objective and what it is trained on (MV-MLM, sections 3.2 to 3.4)."""

    cohorts: Annotated[list[Name], Field(min_length=1)]
    method: Method
    text_encoder: Literal["auto", "frozen", "lora", "full"]
    shuffle_reports: bool
    negatives: Literal["gathered", "local"]
    positives: Literal["plain", "multi_positive"]
    incomplete: Literal["keep", "drop"]
    swap_probability: Annotated[float, Field(ge=0, le=1)]
    caption_masking: Annotated[float, Field(ge=0, le=1)]


class Embed(Section):
    """Which encoders' frozen features are computed."""

    encoders: list[Literal["pretrained", "initial"]]


class Baseline(Section):
    """An encoder that is probed beside this run's and never pretrained here (docs/encoders.md).

    Attributes:
        encoder: A timm name.
        weights: As a row of `encoder.weights`, or random.
        preparation: What the encoder is fed: one of `preparations`.
    """

    encoder: str
    weights: Annotated[str, Field(pattern=r"^(random|(package|timm|file):.+)$")]
    preparation: Name


class Probe(Section):
    """`lp`: converged L2 logistic regression; `lp_paper`: the paper's short AdamW on frozen features."""

    fractions: Annotated[list[Fraction], Field(min_length=1)]
    seeds: Annotated[list[int], Field(min_length=1)]
    c_grid: Annotated[list[PositiveFloat], Field(min_length=1)]
    paper_epochs: PositiveInt
    paper_learning_rate: PositiveFloat
    paper_batch: dict[str, PositiveInt]


class Finetune(Section):
    """Head and encoder trained together on one task, for each task that is listed."""

    tasks: list[Name]
    seed: int
    learning_rate: PositiveFloat | Literal["auto"]


class ZeroShot(Section):
    """The tasks scored by prompts alone."""

    tasks: list[Name]


class Risk(Section):
    """Additive-hazard risk of one cohort's exams (method notes, Risk); learning_rate is that of a frozen encoder."""

    cohort: Name
    encoder: Literal["frozen", "finetuned"]
    prior_exams: bool
    horizon_years: Annotated[int, Field(ge=1, le=10)]
    epochs: PositiveInt
    learning_rate: PositiveFloat
    exclude_screen_detected: bool
    mirai_compat: bool


class Fuse(Section):
    """Image and pre-reading text fused for labels of one cohort; grid: rows and columns of an image's tokens."""

    cohort: Name
    labels: Annotated[list[Literal["malignant", "mass", "calcification"]], Field(min_length=1)]
    grid: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    epochs: PositiveInt
    learning_rate: PositiveFloat
    text_dropout: Share


class Evaluate(Section):
    """What is packed, embedded and reported on.

    Attributes:
        cohorts: Packed and embedded.
        report_cohorts: Whose test breasts get reports.
        bootstrap: Number of resamples.
        calibration: How scores become the probabilities of pF1, Brier, ECE and slope: by Platt's map or by isotonic
            regression, fitted on validation.
    """

    cohorts: Annotated[list[Name], Field(min_length=1)]
    report_cohorts: Annotated[list[Name], Field(min_length=1)]
    bootstrap: Annotated[int, Field(ge=100)]
    calibration: Calibration


class Run(Section):
    """params.yaml: what experiments vary."""

    profile: Name
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    cohorts: Annotated[list[Name], Field(min_length=1)]
    tasks: dict[Name, Task]
    model: Model
    filter: Filter
    reports: Reports
    pretrain: Pretrain
    embed: Embed
    baselines: list[Name]
    probe: Probe
    finetune: Finetune
    zero_shot: ZeroShot
    risk: Risk
    fuse: Fuse
    evaluate: Evaluate


class Archive(Section):
    """Where one cohort's files are, and how they are read.

    Attributes:
        adapter: The dataset's layout.
        root: The archive's folder (path, `${VARIABLE}` allowed), or null for a synthetic archive.
        patients: Number of synthetic patients, or null for a real archive.
        columns: Canonical name -> the table's column (adapter table only); "" where there is none.
        extra: Further columns that reports may speak of (adapter table only); categories, no free text, not race.
        identifiers: `published` keeps the ids of a dataset that was published under pseudonyms; `keyed` replaces
            every id by a keyed hash and encrypts the paths (pipeline.dicom.pseudonyms.py).
        fatal: Kinds of problem that stop the run instead of being counted.
    """

    adapter: Adapter
    root: str | None
    patients: Annotated[int, Field(ge=4)] | None
    columns: dict[str, str]
    extra: list[str]
    identifiers: Literal["published", "keyed"]
    fatal: list[ProblemKind]

    @field_validator("extra")
    @classmethod
    def _race_is_no_annotation(cls, value: list[str], checked: ValidationInfo) -> list[str]:
        """Race groups test images and does nothing else (docs/protocol.md, Subgroups)."""
        if {"race", checked.data.get("columns", {}).get("race", "race")} & set(value):
            raise ValueError("no report may speak of race, which is for subgroups alone: take it out")
        return value


class Compute(Section):
    """Device, numeric precision, decoding processes and where they run, and ranks of the trainer."""

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16", "fp16"]
    workers: PositiveInt
    backend: Literal["local", "ray"]
    processes: PositiveInt


class Ingest(Section):
    """The longest side of a stored crop, which images are left out, when a file and when the run is given up."""

    max_px: Annotated[int, Field(ge=64)]
    exclude: list[Exclusion]
    max_rejected_fraction: Annotated[float, Field(ge=0, le=1)]
    seconds_per_file: PositiveInt


class Preparation(Section):
    """How a stored 16-bit crop becomes what one system feeds its encoder (docs/preparations.md).

    Attributes:
        height_px: Rows of the prepared image.
        width_px: Its columns.
        resize: `stretch` fills the image with the crop; `letterbox` keeps the crop's aspect ratio and centres it in
            black; `frame` stretches the whole frame, the crop lying where it lay in it.
        grey: `stored` scales by percentiles inside the breast, `frame` by least and greatest value of the frame.
        headroom: Where white lies, in percentile ranges above the low end (grey `stored` only).
        threshold: What is background, of 255 on the frame scale (threshold_use `zero` only).
        threshold_use: `zero` blanks what is below the threshold; `mask_only` blanks nothing more than ingest did.
        mirror: The side on which the chest wall shall lie, or `none`: images are never mirrored.
        bits: Of one pixel of the stored PNG; readers give 0 to 255 for either.
    """

    height_px: Annotated[int, Field(ge=32)]
    width_px: Annotated[int, Field(ge=32)]
    resize: Literal["stretch", "letterbox", "frame"]
    grey: Literal["stored", "frame"]
    headroom: Annotated[float, Field(ge=1)]
    threshold: Annotated[int, Field(ge=0, le=255)]
    threshold_use: Literal["zero", "mask_only"]
    mirror: Literal["none", "chest_wall_left", "chest_wall_right"]
    bits: Literal[8, 16]


class Packing(Section):
    """The name of the preparation to pack, and the number of shards of a cohort."""

    preparation: Name
    shards: PositiveInt


class Pack(Packing, Preparation):
    """Section `pack` and the preparation it names, in one."""


class Llm(Section):
    """The chat model behind the pseudo reports, its sampling, and the cap on generations per cohort.

    Attributes:
        engine: `vllm` runs in the stage's process; `endpoint` asks a server that speaks OpenAI's protocol; `ray` runs
            vLLM on the cluster of $RAY_ADDRESS.
        endpoint: The server's URL up to /v1 (`${VARIABLE}` allowed), null for the other engines. Its key is read from
            $REPORTS_API_KEY. dtype, lengths, parallelism and caching are the server's own then.
        model: A hub name, a folder or `package:<name>`; for `endpoint` the name under which the server offers it.
        revision: Branch, tag or commit of a hub model; for `endpoint` what its owners say it is; else null.
        tensor_parallel: GPUs that share one copy of the model.
        data_parallel: Copies of the model (`ray` only; a server has its own option).
        prefix_caching: The beginning that prompts share is computed once.
        max_model_len: Tokens of a prompt and its report together.
        max_tokens: Tokens of a report.
        temperature: Of the sampling; 0 is greedy.
        chunk_prompts: Prompts that are kept, or lost by an interruption, together.
        max_generations: Cap per stage and cohort, null for none.
        prompt: Wording of prefix and suffix (pipeline/reports/prompts).
    """

    engine: Literal["vllm", "endpoint", "ray"]
    endpoint: Annotated[str, Field(pattern=r"^(https?://|\$\{\w+\})[^@?\s]*$")] | None
    model: str
    revision: str | None
    dtype: Literal["float32", "bfloat16", "float16"]
    tensor_parallel: PositiveInt
    data_parallel: PositiveInt
    prefix_caching: bool
    max_model_len: PositiveInt
    max_tokens: PositiveInt
    temperature: Annotated[float, Field(ge=0)]
    chunk_prompts: PositiveInt
    max_generations: PositiveInt | None
    prompt: Literal["v1", "v2"]

    @field_validator("endpoint")
    @classmethod
    def _endpoint_fits_engine(cls, value: str | None, checked: ValidationInfo) -> str | None:
        """A URL for engine endpoint, and for no other."""
        engine = checked.data.get("engine")
        if engine == "endpoint" and value is None:
            raise ValueError("llm.engine is endpoint: give the server's URL, such as http://localhost:8000/v1")
        if engine in ("vllm", "ray") and value is not None:
            raise ValueError(f"llm.engine is {engine}, which asks no server: set it to null, or llm.engine to endpoint")
        return value

    @field_validator("data_parallel")
    @classmethod
    def _copies_fit_engine(cls, value: int, checked: ValidationInfo) -> int:
        """vLLM's LLM class refuses data parallelism within one process (vllm/entrypoints/llm.py, 0.32)."""
        if value > 1 and checked.data.get("engine") == "vllm":
            raise ValueError(
                "llm.engine vllm runs one copy of the model: set it to 1 (llm.tensor_parallel shares one copy among"
                " GPUs), or take llm.engine ray, or endpoint with a server of several copies"
            )
        return value


class Text(Section):
    """The text encoder, frozen or not (`pretrain.text_encoder`); `max_tokens` is also the text tower's input width."""

    model: str
    revision: str | None
    max_tokens: Annotated[int, Field(ge=8)]


class Encoder(Section):
    """The profile's image encoder, and where each encoder's weights come from, `default` those without a row."""

    default: str
    weights: dict[str, str]


class Tr(Section):
    """The Tr module: tokens after the position map, Transformer blocks, heads and MLP width."""

    tokens: PositiveInt
    blocks: PositiveInt
    heads: PositiveInt
    mlp: PositiveInt


class OwnOptimisation(Section):
    """What a method has otherwise than the profile; null: as the profile."""

    learning_rate: PositiveFloat | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    temperature_image_text: PositiveFloat | None = None
    learnable_temperature: bool | None = None


class Optimisation(Section):
    """AdamW, its schedule, temperatures and the table of epochs and batches by encoder.

    Attributes:
        learning_rate: At its peak.
        weight_decay: Of AdamW.
        warmup_epochs: Epochs until the peak.
        temperature_image_text: Of images against reports (tau_1).
        temperature_views: Of the two views of a breast (tau_2).
        learnable_temperature: Both learn from there on; SigLIP's always does.
        clip_norm: Greatest norm of the gradient.
        images_per_pass: Images that go through the encoder at once; a larger batch is embedded in several passes with
            the gradient of the whole (docs/pretraining.md). null: the whole batch at once.
        activation_checkpointing: Feature maps are computed again on the way back instead of kept.
        compile: The encoder by torch.compile.
        checkpoint_steps: Steps between two checkpoints.
        keep_checkpoints: How many of the newest are kept.
        epochs: By encoder.
        batch: Breasts (mv_*) or images per rank, by encoder and method.
        by_method: What single methods have otherwise.
    """

    learning_rate: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_epochs: Annotated[float, Field(ge=0)]
    temperature_image_text: PositiveFloat
    temperature_views: PositiveFloat
    learnable_temperature: bool
    clip_norm: PositiveFloat
    images_per_pass: PositiveInt | None
    activation_checkpointing: bool
    compile: bool
    checkpoint_steps: PositiveInt
    keep_checkpoints: PositiveInt
    epochs: dict[str, PositiveInt]
    batch: dict[str, dict[Method, PositiveInt]]
    by_method: dict[Method, OwnOptimisation]

    def for_method(self, method: Method) -> "Optimisation":
        """The same with the method's own values in place."""
        own = self.by_method.get(method, OwnOptimisation())
        return self.model_copy(update=own.model_dump(exclude_none=True))


class Augment(Section):
    """Random affine and elastic transforms; translation as a share of the side, elastic in pixels of 1520 x 912."""

    rotation_deg: Annotated[float, Field(ge=0)]
    translation: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)]
    scale: Annotated[list[PositiveFloat], Field(min_length=2, max_length=2)]
    shear_deg: Annotated[float, Field(ge=0, lt=90)]
    elastic_alpha: Annotated[float, Field(ge=0)]
    elastic_sigma: PositiveFloat


class Downstream(Section):
    """Epochs and batches of fine-tuning and embedding, by encoder.

    Risk with a fine-tuned encoder takes finetune_learning_rate, and passes at most finetune_batch images at once.
    """

    finetune_epochs: dict[str, PositiveInt]
    finetune_learning_rate: PositiveFloat
    finetune_batch: dict[str, PositiveInt]
    embed_batch: dict[str, PositiveInt]


class Profile(Section):
    """conf/profile/<profile>.yaml: what scale decides. (packing: its section `pack`.)"""

    archives: dict[Name, Archive]
    annotations: dict[Name, list[str]]
    compute: Compute
    ingest: Ingest
    packing: Packing = Field(alias="pack")
    preparations: dict[Name, Preparation]
    llm: Llm
    text: Text
    encoder: Encoder
    baselines: dict[Name, Baseline]
    tr: Tr
    optimisation: Optimisation
    augment: Augment
    downstream: Downstream

    @property
    def pack(self) -> Pack:
        """Section `pack` with the settings of the preparation it names."""
        return self.pack_for(self.packing.preparation)

    def pack_for(self, preparation: str) -> Pack:
        """Section `pack` as it would be with this preparation."""
        chosen = self.preparations[preparation]
        return Pack(preparation=preparation, shards=self.packing.shards, **chosen.model_dump())


def by_encoder(table: Mapping[str, V], encoder: str) -> V:
    """The row of a profile table for this encoder, or its `default` row."""
    return table[encoder if encoder in table else "default"]
