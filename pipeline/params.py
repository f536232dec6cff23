"""Reads params.yaml and the profile it names into frozen, validated objects; nothing starts on a wrong value."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import InputError
from pipeline.sections import ANNOTATION_KEYS, ENCODERS, WITH_TEXT, Profile, Run, Section, Task

PARAMS_FILE = Path("params.yaml")
PROFILE_FOLDER = Path("conf/profile")
SYNTHETIC = ("table", "vindr", "rsna")  # layouts in which pipeline/cohorts/phantom.py writes archives
S = TypeVar("S", bound=Section)
V = TypeVar("V")


class Params(NamedTuple):
    """run: params.yaml; profile: conf/profile/<run.profile>.yaml."""

    run: Run
    profile: Profile

    @property
    def encoder(self) -> str:
        """The encoder's timm name, `auto` resolved."""
        named = self.run.model.encoder
        return self.profile.encoder.default if named == "auto" else named

    @property
    def report_keys(self) -> list[str]:
        """What the reports of pretraining speak of: C of all its cohorts."""
        return sorted({key for cohort in self.run.pretrain.cohorts for key in self.profile.annotations[cohort]})


def read_params(root: Path = Path()) -> Params:
    """Reads and checks both files.

    Args:
        root: The project's folder.

    Raises:
        InputError: a key is unknown or missing, a value has the wrong type or range, or two values contradict
            each other; the message names file, key, value and what is allowed.
    """
    run = _read_section(root / PARAMS_FILE, Run)
    profile_file = root / PROFILE_FOLDER / f"{run.profile}.yaml"
    if not profile_file.is_file():
        known = sorted(p.stem for p in (root / PROFILE_FOLDER).glob("*.yaml"))
        raise InputError(f"params.yaml: profile: no {PROFILE_FOLDER}/{run.profile}.yaml; allowed: {', '.join(known)}")
    params = Params(run, _read_section(profile_file, Profile))
    _check_agreement(params)
    return params


def by_encoder(table: Mapping[str, V], encoder: str) -> V:
    """The row of a profile table for this encoder, or its `default` row."""
    return table.get(encoder, table["default"])


def _read_section(file: Path, model: type[S]) -> S:
    """Parses YAML 1.2 (so that 1e-4 is a number) and validates it."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; run from the project's folder")
    try:
        content = YAML(typ="safe", pure=True).load(file)
    except YAMLError as error:
        raise InputError(f"{file}: not YAML: {error}") from error
    try:
        return model.model_validate(_numbers_as_written(content))
    except ValidationError as error:
        raise InputError("\n       ".join(_explain(file, model, e) for e in error.errors())) from None


def _numbers_as_written(value: Any) -> Any:
    """Plain containers instead of ruamel's; numbers and strings as they are."""
    if isinstance(value, dict):
        return {key: _numbers_as_written(item) for key, item in value.items()}
    return [_numbers_as_written(item) for item in value] if isinstance(value, list) else value


def _explain(file: Path, model: type[Section], error: Any) -> str:
    """One line for one pydantic error: file, key, value, what is allowed."""
    where = ".".join(str(part) for part in error["loc"] if "[" not in str(part))
    if error["type"] == "extra_forbidden":
        return f"{file}: {where}: unknown key; allowed here: {', '.join(_keys_beside(model, error['loc']))}"
    if error["type"] == "missing":
        return f"{file}: {where}: missing; every value is written out, so add it"
    return f"{file}: {where}: found {error['input']!r}; {error['msg']}"


def _keys_beside(model: type[Section], location: tuple[Any, ...]) -> list[str]:
    """The keys that are allowed next to an unknown one."""
    current: Any = model
    for part in location[:-1]:
        field = _fields(current).get(part)
        annotation = field.annotation if field else None
        arguments = [a for a in getattr(annotation, "__args__", ()) if hasattr(a, "model_fields")]
        current = annotation if hasattr(annotation, "model_fields") else (arguments[0] if arguments else current)
    return sorted(_fields(current))


def _fields(model: Any) -> dict[str, FieldInfo]:
    """A section's fields by their key in the file."""
    return {field.alias or name: field for name, field in getattr(model, "model_fields", {}).items()}


def _check_agreement(params: Params) -> None:
    """Refuses single valid values that cannot work together."""
    _check_names(params.run)
    for name, task in params.run.tasks.items():
        _check_task(name, task)
    _check_profile(params)


def _check_names(run: Run) -> None:
    """Every cohort or task that a section names is one that exists and has what the section needs."""
    ingested, evaluated = set(run.cohorts), set(run.evaluate.cohorts)
    _require("pretrain.cohorts", run.pretrain.cohorts, ingested, "cohorts")
    _require("evaluate.cohorts", run.evaluate.cohorts, ingested, "cohorts")
    _require("evaluate.report_cohorts", run.evaluate.report_cohorts, evaluated, "evaluate.cohorts")
    _require("risk.cohort", [run.risk.cohort], evaluated, "evaluate.cohorts")
    _require("fuse.cohort", [run.fuse.cohort], set(run.evaluate.report_cohorts), "evaluate.report_cohorts")
    _require("finetune.tasks", run.finetune.tasks, set(run.tasks), "tasks")
    _require("zero_shot.tasks", run.zero_shot.tasks, set(run.tasks), "tasks")
    for name, task in run.tasks.items():
        _require(f"tasks.{name}", [task.cohort, *task.score_on], evaluated, "evaluate.cohorts")


def _require(key: str, names: list[str], allowed: set[str], source: str) -> None:
    """Names the entries of a list that its source does not hold."""
    if unknown := sorted(set(names) - allowed):
        raise InputError(f"{PARAMS_FILE}: {key}: {', '.join(unknown)} not in {source}; allowed: {sorted(allowed)}")


def _check_task(name: str, task: Task) -> None:
    """A task's kind fits its label, and its further cohorts are others, each named once."""
    graded = task.label in ("density", "birads")
    if graded != (task.kind == "ordinal"):
        allowed = "ordinal" if graded else "binary"
        raise InputError(f"{PARAMS_FILE}: tasks.{name}.kind: {task.kind} for {task.label}; allowed: {allowed}")
    if task.cohort in task.score_on:
        raise InputError(f"{PARAMS_FILE}: tasks.{name}.score_on: {task.cohort} is its own cohort; name others alone")
    if len(set(task.score_on)) < len(task.score_on):
        raise InputError(f"{PARAMS_FILE}: tasks.{name}.score_on: found {task.score_on}; name every cohort once")


def _check_profile(params: Params) -> None:
    """The profile has an archive for every cohort and a row for every encoder and method."""
    run, profile = params
    file = PROFILE_FOLDER / f"{run.profile}.yaml"
    if missing := sorted(set(run.cohorts) - set(profile.archives)):
        raise InputError(f"{file}: archives: no entry for {', '.join(missing)}, which params.yaml's cohorts names")
    for cohort, archive in profile.archives.items():
        if (archive.root is None) == (archive.patients is None):
            raise InputError(f"{file}: archives.{cohort}: give either root (a real archive) or patients (synthetic)")
        if archive.patients is not None and archive.adapter not in SYNTHETIC:
            raise InputError(
                f"{file}: archives.{cohort}.adapter: {archive.adapter} has no synthetic archive; give its root, or take"
                f" one of {', '.join(SYNTHETIC)}"
            )
    _check_annotations(file, params)
    if profile.compute.device == "cpu" and profile.compute.precision != "fp32":
        raise InputError(f"{file}: compute.precision: {profile.compute.precision} on a CPU; allowed: fp32")
    tables: dict[str, Mapping[str, object]] = {
        "optimisation.epochs": profile.optimisation.epochs,
        "optimisation.batch": profile.optimisation.batch,
        "downstream.finetune_epochs": profile.downstream.finetune_epochs,
        "downstream.finetune_batch": profile.downstream.finetune_batch,
        "downstream.embed_batch": profile.downstream.embed_batch,
    }
    for key, table in tables.items():
        if "default" not in table:
            raise InputError(f"{file}: {key}: no row `default` for the encoders without a row of their own")
    _check_preparation(file, "pack.preparation", profile.packing.preparation, profile)
    _check_baselines(file, params)
    _check_method(file, params)


def _check_method(file: Path, params: Params) -> None:
    """The method has a batch, and the options of methods with text are set for those only."""
    pretrain = params.run.pretrain
    if pretrain.method == "none":
        return
    if pretrain.method not in by_encoder(params.profile.optimisation.batch, params.encoder):
        raise InputError(f"{file}: optimisation.batch: no {pretrain.method} for {params.encoder}")
    options = {"shuffle_reports": False, "positives": "plain", "negatives": "gathered"}
    for name, default in options.items():
        found = getattr(pretrain, name)
        if pretrain.method not in WITH_TEXT and found != default:
            raise InputError(
                f"{PARAMS_FILE}: pretrain.{name}: {found} with method {pretrain.method}, which reads no reports;"
                f" allowed: {default}"
            )


def _check_annotations(file: Path, params: Params) -> None:
    """Every cohort that gets reports says what they may speak of, and each of those exists."""
    for cohort in sorted({*params.run.pretrain.cohorts, *params.run.evaluate.report_cohorts}):
        if cohort not in params.profile.annotations:
            raise InputError(
                f"{file}: annotations: no entry for {cohort}; list what its reports may speak of, for example"
                " [birads, mass, calcification]"
            )
        allowed = {*ANNOTATION_KEYS, *params.profile.archives[cohort].extra}
        if unknown := sorted(set(params.profile.annotations[cohort]) - allowed):
            raise InputError(
                f"{file}: annotations.{cohort}: {', '.join(unknown)} unknown; allowed: {', '.join(sorted(allowed))}"
                f" (further ones by archives.{cohort}.extra)"
            )


def _check_baselines(file: Path, params: Params) -> None:
    """Every baseline that is named has an entry of its own name, and a preparation that can be packed."""
    entries = params.profile.baselines
    for name in params.run.baselines:
        if name in (*ENCODERS, "gain"):
            raise InputError(f"{PARAMS_FILE}: baselines: {name} has a meaning in metrics.json; take another name")
        if name not in entries:
            raise InputError(
                f"{file}: baselines: no entry for {name}, which params.yaml's baselines names; allowed there:"
                f" {', '.join(sorted(entries)) or 'none'}"
            )
        _check_preparation(file, f"baselines.{name}.preparation", entries[name].preparation, params.profile)


def _check_preparation(file: Path, key: str, name: str, profile: Profile) -> None:
    """The preparation exists, and the stored crops are large enough for it."""
    if name not in profile.preparations:
        known = ", ".join(sorted(profile.preparations))
        raise InputError(f"{file}: {key}: {name} not in preparations; allowed: {known}")
    pack, largest = profile.pack_for(name), profile.ingest.max_px
    if (longest := max(pack.height_px, pack.width_px)) > largest:
        raise InputError(
            f"{file}: preparations.{name}: {longest} px, but ingest.max_px stores crops of {largest} px at most; raise"
            " ingest.max_px or take a smaller preparation"
        )
