"""Every wrong value in params.yaml or a profile stops with file, key, value and what is allowed."""

import re
import shutil
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from pipeline.errors import InputError
from pipeline.params import read_params
from pipeline.sections import Method, OwnOptimisation, by_encoder
from tests.yaml_file import set_value

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path


DEMO = "conf/profile/demo.yaml"


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        ("params.yaml", "pretrain.metod", "clip", ["params.yaml", "pretrain.metod", "unknown key", "method"]),
        ("params.yaml", "pretrain.method", "clop", ["pretrain.method", "'clop'", "mv_clip_tr", "clip"]),
        ("params.yaml", "pretrain.method", None, ["pretrain.method", "missing"]),
        ("params.yaml", "pretrain.incomplete", "skip", ["pretrain.incomplete", "'skip'", "'keep' or 'drop'"]),
        (
            "params.yaml",
            "pretrain.caption_masking",
            1.5,
            ["pretrain.caption_masking", "1.5", "less than or equal to 1"],
        ),
        ("params.yaml", "seed", "seven", ["seed", "'seven'", "integer"]),
        ("params.yaml", "seed", -1, ["seed", "-1", "greater than or equal to 0"]),
        ("params.yaml", "profile", "papre", ["profile", "papre", "demo, paper"]),
        ("params.yaml", "probe.fractions", [0.1, 2.0], ["probe.fractions.1", "2.0", "less than or equal to 1"]),
        ("params.yaml", "probe.seeds", [0, 1, 1], ["probe.seeds", "[0, 1, 1]", "at least 3 different"]),
        ("params.yaml", "pretrain.cohorts", ["embed"], ["pretrain.cohorts", "embed", "screening"]),
        ("params.yaml", "tasks.mass_vindr.label", "lump", ["tasks.mass_vindr.label", "'lump'", "calcification"]),
        ("params.yaml", "tasks.mass_vindr.kind", "ordinal", ["tasks.mass_vindr.kind", "mass", "binary"]),
        ("params.yaml", "tasks.mass_vindr.score_on", ["vindr"], ["score_on", "own cohort"]),
        ("params.yaml", "tasks.mass_vindr.score_on", ["rsna", "rsna"], ["score_on", "every cohort once"]),
        ("params.yaml", "tasks.mass_vindr.score_on", ["elsewhere"], ["elsewhere", "evaluate.cohorts"]),
        ("params.yaml", "tasks.mass_vindr.lable", "mass", ["tasks.mass_vindr.lable", "unknown key", "label"]),
        ("params.yaml", "zero_shot.tasks", ["mass"], ["zero_shot.tasks", "mass", "mass_vindr"]),
        ("params.yaml", "finetune.tasks", ["mass"], ["finetune.tasks", "mass", "mass_vindr"]),
        ("params.yaml", "risk.encoder", "tuned", ["risk.encoder", "'tuned'", "frozen", "finetuned"]),
        ("params.yaml", "risk.prior_exams", 3, ["risk.prior_exams", "3", "boolean"]),
        ("params.yaml", "fuse.cohort", "vindr", ["fuse.cohort", "vindr", "report_cohorts"]),
        ("params.yaml", "fuse.labels", ["density"], ["fuse.labels", "'density'", "malignant", "calcification"]),
        ("params.yaml", "fuse.labels", ["mass", "mass"], ["fuse.labels", "mass", "once"]),
        ("params.yaml", "fuse.grid", [4], ["fuse.grid", "2"]),
        ("params.yaml", "fuse.grid", [4, 0], ["fuse.grid", "0", "greater than 0"]),
        ("params.yaml", "evaluate.calibration", "beta", ["evaluate.calibration", "'beta'", "'platt' or 'isotonic'"]),
        (DEMO, "pack.shards", "many", ["demo.yaml", "pack.shards", "'many'", "integer"]),
        (DEMO, "pack.preparation", "mirage", ["demo.yaml", "pack.preparation", "mirage", "mammo_clip", "mirai"]),
        (DEMO, "pack.height_px", 128, ["demo.yaml", "pack.height_px", "unknown key", "preparation, shards"]),
        (
            DEMO,
            "preparations.mama.height_px",
            "tall",
            ["demo.yaml", "preparations.mama.height_px", "'tall'", "integer"],
        ),
        (DEMO, "preparations.mama.bits", 12, ["preparations.mama.bits", "12", "8 or 16"]),
        (DEMO, "preparations.mama.mirror", "left", ["preparations.mama.mirror", "'left'", "chest_wall_left"]),
        (DEMO, "preparations.mama.grey", None, ["preparations.mama.grey", "missing"]),
        (DEMO, "preparations.mv_mlm.height_px", 700, ["preparations.mv_mlm", "700 px", "ingest.max_px", "640"]),
        ("params.yaml", "baselines", ["mirai"], ["demo.yaml: baselines", "no entry for mirai", "mirai_resnet18"]),
        ("params.yaml", "baselines", ["initial"], ["params.yaml: baselines", "initial", "take another name"]),
        (DEMO, "baselines.mirai_resnet18.weights", "hub:x", ["baselines.mirai_resnet18.weights", "'hub:x'", "random|"]),
        (
            DEMO,
            "baselines.mirai_resnet18.preparation",
            "mirage",
            ["demo.yaml: baselines.mirai_resnet18.preparation", "mirage", "mammo_clip, mirai"],
        ),
        (DEMO, "preparations.mirai.height_px", 700, ["preparations.mirai", "700 px", "ingest.max_px", "640"]),
        (DEMO, "compute.precision", "bf16", ["compute.precision", "bf16", "CPU", "fp32"]),
        (DEMO, "archives.vindr", None, ["archives", "vindr"]),
        (DEMO, "archives.vindr.root", "somewhere", ["archives.vindr", "either root", "patients"]),
        (DEMO, "archives.vindr.adapter", "cmmd", ["archives.vindr.adapter", "cmmd", "no synthetic archive", "table"]),
        (DEMO, "archives.vindr.fatal", ["typo"], ["archives.vindr.fatal", "typo", "duplicate_image"]),
        (DEMO, "ingest.exclude", ["ultrasound"], ["ingest.exclude", "ultrasound", "for_processing"]),
        (DEMO, "optimisation.epochs", {"resnet34": 3}, ["optimisation.epochs", "default"]),
        (DEMO, "tr.token", 4, ["tr.token", "unknown key", "tokens"]),
        (DEMO, "annotations.screening", ["mass", "race"], ["annotations.screening", "race unknown; allowed: age_band"]),
        (
            DEMO,
            "archives.screening.extra",
            ["race"],
            ["archives.screening.extra", "['race']", "no report", "subgroup"],
        ),
        (DEMO, "annotations.screening", ["mass", "shape"], ["annotations.screening", "shape", "birads", "extra"]),
        (
            DEMO,
            "annotations.screening",
            None,
            ["annotations", "no entry for screening", "[birads, mass, calcification]"],
        ),
        ("params.yaml", "reports.variants", 0, ["reports.variants", "0", "greater than 0"]),
        (DEMO, "llm.prompt", "v9", ["llm.prompt", "v9", "v1"]),
        (DEMO, "llm.engine", "openai", ["llm.engine", "'openai'", "endpoint"]),
        (DEMO, "llm.engine", "endpoint", ["llm.endpoint", "None", "http://localhost:8000/v1"]),
        (DEMO, "llm.endpoint", "http://localhost:8000/v1", ["llm.endpoint", "llm.engine is vllm", "set it to null"]),
        (DEMO, "llm.endpoint", "http://me:secret@host/v1", ["llm.endpoint", "pattern"]),
        (DEMO, "llm.data_parallel", 2, ["llm.data_parallel", "2", "llm.engine ray"]),
    ],
)
def test_a_wrong_value_names_file_key_value_and_what_is_allowed(
    project: Path, file: str, key: str, value: object, said: list[str]
) -> None:
    set_value(project / file, key, value)
    with pytest.raises(InputError) as error:
        read_params(project)
    for words in said:
        assert words in str(error.value)
    assert len(str(error.value).splitlines()) <= 20


def test_the_column_of_race_is_no_extra_annotation_under_its_own_name(project: Path) -> None:
    set_value(project / DEMO, "archives.screening.columns", {"race": "Herkunft"})
    assert read_params(project).profile.archives["screening"].columns == {"race": "Herkunft"}
    set_value(project / DEMO, "archives.screening.extra", ["Herkunft"])
    with pytest.raises(InputError, match=r"archives\.screening\.extra: found \['Herkunft'\]; .*no report may speak of"):
        read_params(project)


def test_a_table_without_the_method_is_refused(project: Path) -> None:
    set_value(project / DEMO, "optimisation.batch.default", {"clip": 8})
    with pytest.raises(InputError, match=r"optimisation\.batch: no mv_clip_tr for tf_efficientnet_lite0"):
        read_params(project)


def test_scientific_notation_is_a_number(project: Path) -> None:
    assert read_params(project).run.probe.paper_learning_rate == 5e-5


def test_sections_are_frozen(project: Path) -> None:
    with pytest.raises(ValidationError):
        read_params(project).run.pretrain.method = "clip"  # type: ignore[misc]


def test_not_yaml(project: Path) -> None:
    (project / "params.yaml").write_text("seed: [1\n")
    with pytest.raises(InputError, match=r"params\.yaml: not YAML"):
        read_params(project)


def test_encoder_auto_is_the_profiles_default(project: Path) -> None:
    assert read_params(project).encoder == "tf_efficientnet_lite0"
    set_value(project / "params.yaml", "model.encoder", "efficientnet_b5")
    assert read_params(project).encoder == "efficientnet_b5"


@pytest.mark.parametrize("name", ["demo", "paper"])
@pytest.mark.parametrize("preparation", ["mv_mlm", "mammo_clip", "mama", "mirai", "openai_clip"])
def test_every_profile_can_pack_every_preparation(project: Path, name: str, preparation: str) -> None:
    set_value(project / "params.yaml", "profile", name)
    set_value(project / f"conf/profile/{name}.yaml", "pack.preparation", preparation)
    profile = read_params(project).profile
    assert profile.pack.preparation == preparation
    assert profile.pack.model_dump() == {
        **profile.preparations[preparation].model_dump(),
        "preparation": preparation,
        "shards": profile.packing.shards,
    }
    assert (profile.pack.mirror == "none") == (preparation != "mirai")


@pytest.mark.parametrize("name", ["demo", "paper"])
def test_every_profile_has_the_baselines_of_the_papers_tables_or_none(project: Path, name: str) -> None:
    set_value(project / "params.yaml", "profile", name)
    wanted = ["mirai_resnet18", "imagenet_resnet50", "openai_clip", "mammo_clip"]
    for baselines in (wanted, []):
        set_value(project / "params.yaml", "baselines", baselines)
        params = read_params(project)
        assert params.run.baselines == baselines
    assert set(params.profile.baselines) == set(wanted)


def test_paper_profile_holds_the_papers_numbers(project: Path) -> None:
    set_value(project / "params.yaml", "profile", "paper")
    params = read_params(project)
    profile = params.profile
    o, tr = profile.optimisation, profile.tr
    assert (profile.pack.height_px, profile.pack.width_px, profile.pack.threshold) == (1520, 912, 40)
    assert (o.temperature_image_text, o.temperature_views, o.learnable_temperature) == (0.007, 0.1, False)
    assert (o.learning_rate, o.weight_decay, o.warmup_epochs, o.epochs["default"]) == (5e-5, 1e-4, 1.0, 10)
    mama = o.for_method("mama")
    assert (mama.learning_rate, mama.weight_decay, mama.learnable_temperature) == (4e-5, 0.1, True)
    sizes = {name: (frame.height_px, frame.width_px) for name, frame in profile.preparations.items()}
    assert sizes == {
        "mv_mlm": (1520, 912), "mammo_clip": (1520, 912), "mama": (518, 518), "mirai": (2048, 1664),
        "openai_clip": (224, 224),
    }  # fmt: skip
    assert (tr.tokens, tr.blocks, tr.heads, tr.mlp) == (256, 4, 8, 1024)
    assert {method: by_encoder(o.batch, "resnet34")[method] for method in ("clip", "mv_clip_tr")} == {
        "clip": 32,
        "mv_clip_tr": 32,
    }
    batch = by_encoder(o.batch, "efficientnet_b5")
    assert {name: batch[name] for name in ("mv_clip_tr", "mv_clip", "clip_tr", "clip")} == {
        "mv_clip_tr": 8, "mv_clip": 8, "clip_tr": 8, "clip": 18,
    }  # fmt: skip
    assert (profile.downstream.finetune_batch["resnet34"], profile.downstream.finetune_epochs["default"]) == (96, 30)
    assert profile.encoder.weights["default"] == "timm"
    assert [by_encoder(params.run.probe.paper_batch, name) for name in ("resnet34", "efficientnet_b5")] == [96, 40]
    a = profile.augment
    assert (a.rotation_deg, a.shear_deg, a.scale, a.elastic_alpha, a.elastic_sigma) == (20, 20, [0.8, 1.2], 10, 5)
    assert profile.compute.processes == 8
    assert profile.text.model.endswith("Bio_ClinicalBERT")
    assert profile.llm.model == "meta-llama/Meta-Llama-3-8B-Instruct"


@pytest.mark.parametrize(
    ("key", "value"), [("shuffle_reports", True), ("positives", "multi_positive"), ("negatives", "local")]
)
def test_options_of_methods_with_text_are_refused_without_it(project: Path, key: str, value: object) -> None:
    set_value(project / "params.yaml", "pretrain.method", "simclr")
    read_params(project)
    set_value(project / "params.yaml", f"pretrain.{key}", value)
    with pytest.raises(InputError, match=rf"pretrain\.{key}: {value} with method simclr, which reads no reports"):
        read_params(project)


def test_the_text_encoder_learns_where_there_is_text(project: Path) -> None:
    set_value(project / "params.yaml", "pretrain.method", "mama")
    set_value(project / "params.yaml", "pretrain.text_encoder", "frozen")
    with pytest.raises(InputError, match=r"pretrain\.text_encoder: frozen with method mama.*allowed: auto, lora, full"):
        read_params(project)
    for method in ("mama", "mv_clip_tr", "siglip"):
        set_value(project / "params.yaml", "pretrain.method", method)
        for mode in ("auto", "lora", "full"):
            set_value(project / "params.yaml", "pretrain.text_encoder", mode)
            assert read_params(project).run.pretrain.text_encoder == mode
    set_value(project / "params.yaml", "pretrain.method", "byol")
    with pytest.raises(InputError, match=r"pretrain\.text_encoder: full with method byol, which reads no reports"):
        read_params(project)


def test_the_share_withheld_is_an_option_of_captions(project: Path) -> None:
    set_value(project / "params.yaml", "pretrain.caption_masking", 0.5)
    with pytest.raises(InputError, match=r"pretrain\.caption_masking: 0\.5 with method mv_clip_tr.*no captions.*0\.8"):
        read_params(project)
    set_value(project / "params.yaml", "pretrain.method", "mama")
    assert read_params(project).run.pretrain.caption_masking == 0.5


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("profile", ["demo", "paper"])
def test_every_method_runs_with_every_profile(project: Path, method: str, profile: str) -> None:
    set_value(project / "params.yaml", "profile", profile)
    set_value(project / "params.yaml", "pretrain.method", method)
    for encoder in ("auto", "efficientnet_b5", "resnet34"):
        set_value(project / "params.yaml", "model.encoder", encoder)
        assert read_params(project).run.pretrain.method == method


def test_a_method_may_differ_from_the_profile_in_what_is_its_own() -> None:
    optimisation = read_params(ROOT).profile.optimisation
    assert optimisation.for_method("clip") == optimisation
    own = {"mama": OwnOptimisation(learning_rate=4e-5, weight_decay=0.1)}
    changed = optimisation.model_copy(update={"by_method": own})
    mama = changed.for_method("mama")
    assert (mama.learning_rate, mama.weight_decay) == (4e-5, 0.1)
    assert (
        mama.temperature_image_text == optimisation.temperature_image_text and mama.clip_norm == optimisation.clip_norm
    )
    assert changed.for_method("clip") == changed


def test_an_archive_of_ones_own_as_the_readme_adds_it(project: Path) -> None:
    """Its YAML lines, and `mine` in the place of `screening`."""
    readme = (ROOT / "README.md").read_text().split("## Your own archive")[1].split("\n## ")[0]
    archive, annotations = re.findall(r"^ {7}mine: ((?:[^\n]*\n {14})?[^\n]*)$", readme, re.MULTILINE)
    profile, run = project / "conf" / "profile" / "paper.yaml", project / "params.yaml"
    yaml = YAML(typ="safe")
    set_value(profile, "archives.mine", yaml.load(archive))
    set_value(profile, "annotations.mine", yaml.load(annotations))
    run.write_text(re.sub(r"\bscreening\b", "mine", run.read_text().replace("_screening", "_own")))
    set_value(run, "profile", "paper")
    found = read_params(project)
    assert found.run.cohorts == ["mine", "vindr", "rsna"] and found.run.pretrain.cohorts == ["mine"]
    assert found.profile.archives["mine"].adapter == "table"
