"""dvc.yaml declares exactly what the code reads and writes, and no stage sees test labels before `evaluate`."""

import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.sections import ENCODERS
from tests.code_deps import ROOT, code_deps, keys_read, outermost, script_of
from tests.yaml_file import set_value

DAG: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
STAGES = sorted(DAG)


def body(stage: str) -> dict[str, Any]:
    """The part of a stage that a matrix or foreach repeats."""
    return DAG[stage].get("do", DAG[stage])


def names(entries: list[Any]) -> list[str]:
    """Paths of outs, metrics or plots, with or without options."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def outs(stage: str) -> list[str]:
    return [path for kind in ("outs", "metrics", "plots") for path in names(body(stage).get(kind, []))]


def plain(path: str) -> list[str]:
    """A templated path for each of the run's encoders, every other template as `*`."""
    named = [path.replace("${item.encoder}", encoder) for encoder in ENCODERS]
    return [re.sub(r"\$\{[^}]*\}", "*", each) for each in named]


def overlap(one: str, other: str) -> bool:
    """Whether two paths are equal or one lies below the other; a template stands for one cohort, task or baseline."""
    return any(
        all(a == b or "*" in (a, b) for a, b in zip(first.split("/"), second.split("/"), strict=False))
        for first, second in itertools.product(plain(one), plain(other))
    )


def paths_in_command(stage: str) -> list[str]:
    command = re.sub(r"\$\{[^}]*\}", lambda m: m.group().replace(" ", ""), body(stage)["cmd"])
    return [word for word in shlex.split(command) if "/" in word or word.endswith(".json")]


def declared_keys(stage: str) -> tuple[set[str], set[str]]:
    """Keys of params.yaml and of the profile; a templated last part counts as the section it lies in."""
    run: set[str] = set()
    profile: set[str] = set()
    for entry in body(stage).get("params", []):
        if isinstance(entry, dict):
            ((file, keys),) = entry.items()
            if file == "params.yaml" and keys is None:
                run.add("*")
                continue
            assert file == "conf/profile/${profile}.yaml"
            profile |= {key.split(".${")[0] for key in keys}
        else:
            run.add(entry.split(".${")[0])
    return outermost(run), outermost(profile)


def test_every_script_is_a_stage_and_every_stage_has_its_script() -> None:
    assert set((ROOT / "stages").glob("[a-z]*.py")) == {script_of(body(stage)) for stage in STAGES}
    assert {stage for stage in STAGES if script_of(body(stage)).stem != stage} == {"embed_baseline"}


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_the_imports(stage: str) -> None:
    declared = [dep for dep in body(stage)["deps"] if re.match(r"(stages|pipeline)/", dep)]
    assert declared == code_deps(script_of(body(stage))), "run: python -m tests.code_deps"


# Grows while a stage runs, for people to follow; holds times, so it is no out, and no stage reads it.
WATCHED = {"results/live/pretrain.csv"}


@pytest.mark.parametrize("stage", STAGES)
def test_paths_in_the_command_are_the_deps_and_outs(stage: str) -> None:
    deps = {dep for dep in body(stage).get("deps", []) if not re.match(r"(stages|pipeline)/", dep)}
    in_command = paths_in_command(stage)
    assert len(set(in_command)) == len(in_command)
    assert set(in_command) - WATCHED == deps | set(outs(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_keys_that_the_script_reads(stage: str) -> None:
    assert keys_read(script_of(body(stage))) == declared_keys(stage)


PATH_LITERAL = re.compile(r"""(?<!["'])["'](data|models|results|conf)/""")


@pytest.mark.parametrize("file", sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("stages/*.py")]), ids=str)
def test_no_path_of_the_dag_is_written_in_code(file: Path) -> None:
    if file.name != "params.py":
        assert not PATH_LITERAL.search(file.read_text())
        assert '"params.yaml"' not in file.read_text()


def readers(path: str) -> set[str]:
    """The stages that have a dep at, below or above a path; a template may be any cohort."""
    return {stage for stage in STAGES if any(overlap(path, dep) for dep in body(stage).get("deps", []))}


# Whatever holds labels of test patients, and who may read it.
TEST_LABELS = {
    "data/raw": {"catalog", "ingest"},
    "data/catalog/vindr/images.parquet": {"filter", "ingest"},
    "data/catalog/vindr/problems.parquet": {"filter", "ingest", "quality"},
    "data/annotations/vindr/test.parquet": {"write_reports_evaluate"},
    "data/reports/evaluate/full": {"encode_text_evaluate", "evaluate", "review_reports"},
    "data/text/evaluate/full": {"retrieve", "forgetting"},
    "data/sealed": {"evaluate"},
}


@pytest.mark.parametrize("path", TEST_LABELS)
def test_labels_of_test_patients_reach_evaluation_only(path: str) -> None:
    assert readers(path) == TEST_LABELS[path]


def test_nothing_of_evaluation_reaches_pretraining() -> None:
    """Follows every dep of `pretrain` back; a path under an `evaluate` folder would make it rerun."""
    queue, upstream = ["pretrain"], set()
    while queue:
        stage = queue.pop()
        upstream.add(stage)
        for dep in body(stage).get("deps", []):
            assert "evaluate" not in dep, f"{stage} depends on {dep}"
            queue.extend(
                other for other in STAGES if other not in upstream and any(overlap(dep, out) for out in outs(other))
            )
    assert (
        upstream
        & {"baselines", "pack_baseline", "pack_evaluate", "write_reports_evaluate", "embed", "probe", "evaluate"}
        == set()
    )
    assert {"acquire", "ingest", "filter", "pack_pretrain", "write_reports_pretrain"} <= upstream


def test_nothing_reruns_the_fast_features_of_the_initial_encoder_after_pretraining() -> None:
    assert "models/pretrained" not in "".join(body("initial").get("deps", []))
    assert "models/${item.encoder}" in body("embed")["deps"]


def reruns(key: str) -> set[str]:
    """Every stage that a change of one key of params.yaml reruns: those that declare it, and all below them."""
    done: set[str] = set()
    queue = [s for s in STAGES if declared_keys(s)[0] & {"*", key, key.split(".")[0]} and s != "evaluate"]
    while queue:
        stage = queue.pop()
        done.add(stage)
        below = (s for s in STAGES if any(overlap(d, out) for d in body(s).get("deps", []) for out in outs(stage)))
        queue.extend(s for s in below if s not in done)
    return done


AFTER_PRETRAINING = {
    "embed",
    "probe",
    "finetune",
    "zero_shot",
    "retrieve",
    "forgetting",
    "transfer",
    "risk",
    "fuse",
    "evaluate",
}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("probe.c_grid", {"probe", "probe_baseline", "evaluate"}),
        ("finetune.learning_rate", {"finetune", "transfer", "forgetting", "evaluate"}),
        ("risk.epochs", {"risk", "evaluate"}),
        ("pretrain.method", {"pretrain"} | AFTER_PRETRAINING),
        ("model.encoder", {"initial", "pretrain"} | AFTER_PRETRAINING),
        ("model.weights", {"initial", "pretrain"} | AFTER_PRETRAINING),
        ("baselines", {"baselines", "embed_baseline", "probe_baseline", "evaluate"}),
    ],
)
def test_a_change_of_one_key_reruns_only_what_depends_on_it(key: str, expected: set[str]) -> None:
    assert reruns(key) == expected


@pytest.mark.parametrize("baselines", [[], ["mirai_resnet18"], ["mirai_resnet18", "openai_clip"]])
def test_dvc_knows_a_cell_per_baseline_and_none_without(tmp_path: Path, baselines: list[str]) -> None:
    for name in ("dvc.yaml", "params.yaml", "conf/profile/demo.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    set_value(tmp_path / "params.yaml", "baselines", baselines)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--quiet", "--no-scm"], cwd=tmp_path, check=True)
    listed = subprocess.run(
        [*dvc, "stage", "list", "--name-only"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    cells = {f"{stage}@{cohort}-{name}" for stage in ("pack_baseline", "embed_baseline")
             for cohort in ("screening", "vindr", "rsna") for name in baselines}  # fmt: skip
    cells |= {f"probe_baseline@{name}" for name in baselines}
    found = listed.stdout.split()
    assert {name for name in found if "_baseline@" in name} == cells
    assert {"baselines", "evaluate", "embed@vindr-pretrained"} <= set(found)
