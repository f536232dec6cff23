"""Reads params.yaml and the profile it names into frozen, validated objects; nothing starts on a wrong value."""

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.agreement import Settings, check_agreement
from pipeline.errors import InputError
from pipeline.sections import Profile, Run, Section

__all__ = ["PARAMS_FILE", "PROFILE_FOLDER", "Params", "read_params"]

PARAMS_FILE = Path("params.yaml")
PROFILE_FOLDER = Path("conf/profile")
S = TypeVar("S", bound=Section)


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
    profile_file = PROFILE_FOLDER / f"{run.profile}.yaml"
    if not (root / profile_file).is_file():
        known = sorted(p.stem for p in (root / PROFILE_FOLDER).glob("*.yaml"))
        raise InputError(f"params.yaml: profile: no {profile_file}; allowed: {', '.join(known)}")
    params = Params(run, _read_section(root / profile_file, Profile))
    check_agreement(Settings(*params, params.encoder, PARAMS_FILE, profile_file))
    return params


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
