"""Single valid values of params.yaml and its profile that cannot work together are refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.sections import ANNOTATION_KEYS, ENCODERS, WITH_TEXT, Profile, Run, by_encoder

SYNTHETIC = ("table", "vindr", "rsna")  # layouts in which pipeline/cohorts/phantom.py writes archives
MIN_SEEDS = 3
MAMA_MASKING = 0.8  # pretrain.caption_masking. Source: method.md, MaMA, `Caption`.


class Settings(NamedTuple):
    """Both files' values; encoder: its timm name, `auto` resolved; run_file, profile_file: as messages name them."""

    run: Run
    profile: Profile
    encoder: str
    run_file: Path
    profile_file: Path


def check_agreement(settings: Settings) -> None:
    """Compares the values of each file with each other, and the profile's with those of params.yaml.

    Raises:
        InputError: two values contradict each other; the message names file, key, value and what is allowed.
    """
    _check_names(settings)
    _check_tasks(settings)
    _check_archives(settings)
    _check_annotations(settings)
    _check_precision(settings)
    _check_probe(settings)
    _check_default_rows(settings)
    _check_preparation(settings, "pack.preparation", settings.profile.packing.preparation)
    _check_baselines(settings)
    _check_method(settings)


def _check_names(settings: Settings) -> None:
    """Every cohort or task that a section names is one that exists and has what the section needs."""
    run, file = settings.run, settings.run_file
    ingested, evaluated = set(run.cohorts), set(run.evaluate.cohorts)
    _require(file, "pretrain.cohorts", run.pretrain.cohorts, ingested, "cohorts")
    _require(file, "evaluate.cohorts", run.evaluate.cohorts, ingested, "cohorts")
    _require(file, "evaluate.report_cohorts", run.evaluate.report_cohorts, evaluated, "evaluate.cohorts")
    _require(file, "risk.cohort", [run.risk.cohort], evaluated, "evaluate.cohorts")
    _require(file, "fuse.cohort", [run.fuse.cohort], set(run.evaluate.report_cohorts), "evaluate.report_cohorts")
    _require(file, "finetune.tasks", run.finetune.tasks, set(run.tasks), "tasks")
    _require(file, "zero_shot.tasks", run.zero_shot.tasks, set(run.tasks), "tasks")
    if len(set(run.fuse.labels)) < len(run.fuse.labels):
        raise InputError(f"{file}: fuse.labels: found {run.fuse.labels}; name every label once")
    for name, task in run.tasks.items():
        _require(file, f"tasks.{name}", [task.cohort, *task.score_on], evaluated, "evaluate.cohorts")


def _require(file: Path, key: str, names: list[str], allowed: set[str], source: str) -> None:
    """Names the entries of a list that its source does not hold."""
    if unknown := sorted(set(names) - allowed):
        raise InputError(f"{file}: {key}: {', '.join(unknown)} not in {source}; allowed: {sorted(allowed)}")


def _check_tasks(settings: Settings) -> None:
    """A task's kind fits its label, and its further cohorts are others, each named once."""
    for name, task in settings.run.tasks.items():
        graded = task.label in ("density", "birads")
        if graded != (task.kind == "ordinal"):
            allowed = "ordinal" if graded else "binary"
            raise InputError(
                f"{settings.run_file}: tasks.{name}.kind: {task.kind} for {task.label}; allowed: {allowed}"
            )
        where = f"{settings.run_file}: tasks.{name}.score_on"
        if task.cohort in task.score_on:
            raise InputError(f"{where}: {task.cohort} is its own cohort; name others alone")
        if len(set(task.score_on)) < len(task.score_on):
            raise InputError(f"{where}: found {task.score_on}; name every cohort once")


def _check_archives(settings: Settings) -> None:
    """The profile has an archive for every cohort, either a real one or one that can be synthesised."""
    profile, file = settings.profile, settings.profile_file
    if missing := sorted(set(settings.run.cohorts) - set(profile.archives)):
        raise InputError(f"{file}: archives: no entry for {', '.join(missing)}, which params.yaml's cohorts names")
    for cohort, archive in profile.archives.items():
        if (archive.root is None) == (archive.patients is None):
            raise InputError(f"{file}: archives.{cohort}: give either root (a real archive) or patients (synthetic)")
        if archive.patients is not None and archive.adapter not in SYNTHETIC:
            raise InputError(
                f"{file}: archives.{cohort}.adapter: {archive.adapter} has no synthetic archive; give its root, or take"
                f" one of {', '.join(SYNTHETIC)}"
            )


def _check_annotations(settings: Settings) -> None:
    """Every cohort that gets reports says what they may speak of, and each of those exists."""
    run, profile, file = settings.run, settings.profile, settings.profile_file
    for cohort in sorted({*run.pretrain.cohorts, *run.evaluate.report_cohorts}):
        if cohort not in profile.annotations:
            raise InputError(
                f"{file}: annotations: no entry for {cohort}; list what its reports may speak of, for example"
                " [birads, mass, calcification]"
            )
        allowed = {*ANNOTATION_KEYS, *profile.archives[cohort].extra}
        if unknown := sorted(set(profile.annotations[cohort]) - allowed):
            raise InputError(
                f"{file}: annotations.{cohort}: {', '.join(unknown)} unknown; allowed: {', '.join(sorted(allowed))}"
                f" (further ones by archives.{cohort}.extra)"
            )


def _check_precision(settings: Settings) -> None:
    """A CPU computes in single precision."""
    compute = settings.profile.compute
    if compute.device == "cpu" and compute.precision != "fp32":
        raise InputError(f"{settings.profile_file}: compute.precision: {compute.precision} on a CPU; allowed: fp32")


def _check_probe(settings: Settings) -> None:
    """Seeds enough for a spread."""
    if len(set(seeds := settings.run.probe.seeds)) < MIN_SEEDS:
        expected = f"at least {MIN_SEEDS} different ones, which show how much a result depends on the training"
        raise InputError(f"{settings.run_file}: probe.seeds: {seeds}; expected {expected}")


def _check_default_rows(settings: Settings) -> None:
    """Every table by encoder has a row for those it does not name."""
    optimisation, downstream = settings.profile.optimisation, settings.profile.downstream
    if "default" not in settings.run.probe.paper_batch:
        raise InputError(f"{settings.run_file}: probe.paper_batch: no row `default` for encoders without a row")
    tables: dict[str, Mapping[str, object]] = {
        "optimisation.epochs": optimisation.epochs,
        "optimisation.batch": optimisation.batch,
        "downstream.finetune_epochs": downstream.finetune_epochs,
        "downstream.finetune_batch": downstream.finetune_batch,
        "downstream.embed_batch": downstream.embed_batch,
        "encoder.weights": settings.profile.encoder.weights,
    }
    for key, table in tables.items():
        if "default" not in table:
            raise InputError(
                f"{settings.profile_file}: {key}: no row `default` for the encoders without a row of their own"
            )


def _check_baselines(settings: Settings) -> None:
    """Every baseline that is named has an entry of its own name, and a preparation that can be packed."""
    entries = settings.profile.baselines
    for name in settings.run.baselines:
        if name in (*ENCODERS, "gain"):
            raise InputError(f"{settings.run_file}: baselines: {name} has a meaning in metrics.json; take another name")
        if name not in entries:
            raise InputError(
                f"{settings.profile_file}: baselines: no entry for {name}, which params.yaml's baselines names; allowed"
                f" there: {', '.join(sorted(entries)) or 'none'}"
            )
        _check_preparation(settings, f"baselines.{name}.preparation", entries[name].preparation)


def _check_preparation(settings: Settings, key: str, name: str) -> None:
    """The preparation exists, and the stored crops are large enough for it."""
    profile, file = settings.profile, settings.profile_file
    if name not in profile.preparations:
        known = ", ".join(sorted(profile.preparations))
        raise InputError(f"{file}: {key}: {name} not in preparations; allowed: {known}")
    pack, largest = profile.pack_for(name), profile.ingest.max_px
    if (longest := max(pack.height_px, pack.width_px)) > largest:
        raise InputError(
            f"{file}: preparations.{name}: {longest} px, but ingest.max_px stores crops of {largest} px at most; raise"
            " ingest.max_px or take a smaller preparation"
        )


def _check_method(settings: Settings) -> None:
    """The method has a batch, and the options of some methods are set for those only."""
    pretrain, encoder = settings.run.pretrain, settings.encoder
    if pretrain.method == "none":
        return
    if pretrain.method not in by_encoder(settings.profile.optimisation.batch, encoder):
        raise InputError(f"{settings.profile_file}: optimisation.batch: no {pretrain.method} for {encoder}")
    options = {"text_encoder": "auto", "shuffle_reports": False, "positives": "plain", "negatives": "gathered"}
    for name, default in options.items():
        found = getattr(pretrain, name)
        if pretrain.method not in WITH_TEXT and found != default:
            raise InputError(
                f"{settings.run_file}: pretrain.{name}: {found} with method {pretrain.method}, which reads no reports;"
                f" allowed: {default}"
            )
    if pretrain.method == "mama" and pretrain.text_encoder == "frozen":
        raise InputError(
            f"{settings.run_file}: pretrain.text_encoder: frozen with method mama, whose captions are drawn anew in"
            " every epoch and have no stored states; allowed: auto, lora, full"
        )
    if pretrain.method != "mama" and pretrain.caption_masking != MAMA_MASKING:
        raise InputError(
            f"{settings.run_file}: pretrain.caption_masking: {pretrain.caption_masking} with method {pretrain.method},"
            f" which reads no captions; allowed: {MAMA_MASKING}"
        )
