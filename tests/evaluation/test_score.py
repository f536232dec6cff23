"""metrics.json against numbers computed directly from the predictions and the labels."""

import numpy as np
import pandas as pd
import pytest
from lifelines.utils import concordance_index
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from pipeline.downstream.follow_up import followed_exams
from pipeline.downstream.predictions import FUSION_METHODS
from pipeline.evaluation.inputs import read_predictions
from pipeline.evaluation.risk_scores import score_risk
from pipeline.evaluation.score import gain_metrics, score, score_task, unit_metrics
from pipeline.evaluation.scored import Scored, scored_breasts, scored_images, setting_name
from pipeline.metrics.bootstrap import resample_counts
from pipeline.tables import DENSITIES, PREDICTIONS
from tests.evaluation.fake_project import ORIGIN


def joined(evaluated, task: str, split: str, cohort: str, **keys: object) -> pd.DataFrame:
    """Predictions of one setting with the sealed labels beside them."""
    rows = evaluated.inputs.read_predictions()
    chosen = (rows["task"] == task) & (rows["split"] == split)
    for name, value in keys.items():
        chosen &= np.isclose(rows[name], value) if isinstance(value, float) else rows[name] == value
    return rows[chosen].merge(evaluated.inputs.read_labels(cohort), on="image_id", suffixes=("", "_sealed"))


def test_auc_is_the_mean_over_seeds_on_known_labels(evaluated) -> None:
    for split, cohort in (("test", "vindr"), ("transfer_screening", "screening")):
        rows = joined(evaluated, "mass_vindr", split, cohort, method="lp", encoder="pretrained", fraction=0.1)
        known = rows[rows["mass"].notna()]
        aucs = [roc_auc_score(seed["mass"].astype(bool), seed["score"]) for _, seed in known.groupby("seed")]
        entry = evaluated.metrics["mass_vindr"][split]["lp_10"]
        assert entry["pretrained"]["auc"] == round(np.mean(aucs), 4)
        assert entry["pretrained"]["seed_std"] == round(np.std(aucs, ddof=1), 4)
        assert entry["pretrained"]["n"] == 236  # 240 test images, 4 of unknown mass
        assert entry["pretrained"]["positives"] == int(known.drop_duplicates("image_id")["mass"].sum())
        assert entry["pretrained"]["low"] < entry["pretrained"]["auc"] < entry["pretrained"]["high"]


def test_the_spread_over_seeds_is_missing_where_all_seeds_are_one_training() -> None:
    generator = np.random.default_rng(0)
    grades, patients = np.array([0, 1] * 20), np.arange(40).astype(str)
    once = generator.normal(size=40) + grades
    converged = Scored("t", "test", "lp_100", "pretrained", False, grades, np.stack([once] * 3), patients)
    assert "seed_std" not in unit_metrics(converged, 2, 100, 0)
    assert "seed_std" not in unit_metrics(converged._replace(scores=once[None]), 2, 100, 0)
    drawn = np.stack([once, once, generator.permutation(once)])
    aucs = [roc_auc_score(grades, scores) for scores in drawn]
    assert unit_metrics(converged._replace(scores=drawn), 2, 100, 0)["seed_std"] == round(np.std(aucs, ddof=1), 4)


def test_gain_is_the_difference_of_the_two_encoders(evaluated) -> None:
    for task in evaluated.run.tasks:
        for setting, entry in evaluated.metrics[task]["test"].items():
            if setting.startswith("lp"):
                assert entry["gain"]["auc"] == pytest.approx(
                    entry["pretrained"]["auc"] - entry["initial"]["auc"], abs=1.01e-4
                )
                assert entry["gain"]["low"] <= entry["gain"]["auc"] <= entry["gain"]["high"]
            else:
                assert set(entry) == {"pretrained"}


def test_a_baseline_is_scored_on_the_units_of_the_pretrained_encoder(evaluated) -> None:
    assert evaluated.metrics["baselines"] == {"mirai_resnet18": ORIGIN}
    for task in evaluated.run.tasks:
        for split, settings in evaluated.metrics[task].items():
            for setting in ("lp_10", "lp_50", "lp_100"):
                baseline, pretrained = (settings[setting][name] for name in ("mirai_resnet18", "pretrained"))
                for size in ("n", "patients", "positives"):
                    assert baseline.get(size) == pretrained.get(size)
                gain = baseline["gain"]
                assert gain["auc"] == pytest.approx(pretrained["auc"] - baseline["auc"], abs=1.01e-4), (split, setting)
                assert gain["low"] < gain["auc"] < gain["high"]
    rows = joined(evaluated, "mass_vindr", "test", "vindr", method="lp", encoder="mirai_resnet18", fraction=0.5)
    known = rows[rows["mass"].notna()]
    aucs = [roc_auc_score(seed["mass"].astype(bool), seed["score"]) for _, seed in known.groupby("seed")]
    assert evaluated.metrics["mass_vindr"]["test"]["lp_50"]["mirai_resnet18"]["auc"] == round(np.mean(aucs), 4)


def test_predictions_of_a_former_baseline_are_left_out(evaluated) -> None:
    assert "former" in read_predictions(evaluated.inputs.predictions)["encoder"].unique()
    assert "former" not in (evaluated.root / "metrics.json").read_text()
    assert set(evaluated.metrics["mass_vindr"]["test"]["lp_100"]) == {"initial", "pretrained", "gain", "mirai_resnet18"}


def test_a_baseline_that_scored_other_units_is_refused(evaluated) -> None:
    patients = np.arange(40).astype(str)
    pretrained = Scored("t", "test", "lp_100", "pretrained", False, np.array([0, 1] * 20), np.zeros((1, 40)), patients)
    baseline = pretrained._replace(encoder="other", patients=patients[::-1])
    with pytest.raises(ValueError, match="different units"):
        score_task([pretrained, baseline], 2, 100, 0)


def test_the_spread_over_seeds_is_of_the_statistic_beside_it() -> None:
    """A grade of two patients is no cut point of the AUC, nor of its spread."""
    generator = np.random.default_rng(0)
    grades, patients = np.array([0, 1, 2] * 20 + [3] * 2), np.arange(62).astype(str)
    scores = np.stack([grades + generator.normal(size=62) for _ in range(3)])
    scores[1, -2:] = -9  # one seed ranks the rare grade last
    found = unit_metrics(Scored("t", "test", "lp_10", "pretrained", True, grades, scores, patients), 4, 100, 0)
    aucs = [np.mean([roc_auc_score(grades >= cut, seed) for cut in (1, 2)]) for seed in scores]
    assert (found["auc"], found["seed_std"]) == (round(np.mean(aucs), 4), round(np.std(aucs, ddof=1), 4))


def test_ordinal_task_has_cut_point_auc_and_kappa(evaluated) -> None:
    rows = joined(evaluated, "density_vindr", "test", "vindr", method="ft")
    grades = rows["density"].map(DENSITIES.index).astype(int)
    aucs = [roc_auc_score(grades >= cut, rows["score"]) for cut in (1, 2, 3)]
    guessed = np.clip(np.rint(rows["score"].astype(float)), 0, 3).astype(int)
    entry = evaluated.metrics["density_vindr"]["test"]["ft_100"]["pretrained"]
    assert entry["auc"] == round(np.mean(aucs), 4)
    assert entry["kappa"] == round(cohen_kappa_score(grades, guessed, weights="quadratic"), 4)
    assert entry["kappa_low"] < entry["kappa"] < entry["kappa_high"]
    assert "positives" not in entry


def test_kappa_is_the_mean_over_seeds_resampled_by_patient() -> None:
    generator = np.random.default_rng(0)
    grades, patients = generator.integers(0, 4, 120), np.arange(120) // 3
    scores = grades + generator.normal(size=(2, 120)) + generator.normal(size=40)[patients]
    unit = Scored("t", "test", "lp_10", "pretrained", True, grades, scores, patients)

    def kappa(rows: np.ndarray) -> float:
        drawn = grades[rows]
        return float(
            np.mean([cohen_kappa_score(drawn, g[rows], labels=range(4), weights="quadratic") for g in guessed])
        )

    guessed = np.clip(np.rint(scores), 0, 3).astype(int)
    counts = np.concatenate(list(resample_counts(40, 100, 0))).astype(int)
    slow = np.percentile([kappa(np.repeat(np.arange(120), row[patients])) for row in counts], [2.5, 97.5])
    found = unit_metrics(unit, 4, 100, 0)
    expected = np.round([kappa(np.arange(120)), *slow], 4).tolist()
    assert [found["kappa"], found["kappa_low"], found["kappa_high"]] == expected
    one_grade = unit_metrics(unit._replace(scores=scores * 0 + 2), 4, 100, 0)
    assert (one_grade["kappa"], one_grade["kappa_low"], one_grade["kappa_high"]) == (0.0, None, None)


def test_birads_is_graded_and_incomplete_is_no_grade(evaluated) -> None:
    rows = joined(
        evaluated, "birads_vindr", "test", "vindr", method="lp_paper", encoder="initial", fraction=0.5, seed=2
    )
    assert set(rows["birads"]) == {1, 2, 3, 4, 5}
    entry = evaluated.metrics["birads_vindr"]["test"]["lp_paper_50"]["initial"]
    assert (entry["n"], entry["patients"]) == (240, 60)
    labels = evaluated.inputs.read_labels("vindr")
    labels.loc[labels["birads"] == 1, "birads"] = 0
    tasks = {"birads_vindr": evaluated.run.tasks["birads_vindr"]}
    truth = {"vindr": labels} | {other: evaluated.inputs.read_labels(other) for other in tasks["birads_vindr"].score_on}
    unit = scored_images(rows[PREDICTIONS.names], truth, tasks)[0]
    known = rows[rows["birads"] != 1]
    aucs = [roc_auc_score(known["birads"] >= cut, known["score"]) for cut in (3, 4, 5)]
    found = unit_metrics(unit, 7, 100, 0)
    assert (found["n"], found["auc"]) == (len(known), round(np.mean(aucs), 4))
    guessed = np.rint(known["score"].astype(float)).clip(0, 6).astype(int)
    assert found["kappa"] == round(cohen_kappa_score(known["birads"].astype(int), guessed, weights="quadratic"), 4)


def test_a_task_that_was_not_fine_tuned_is_probed_alone(evaluated) -> None:
    found = evaluated.metrics["birads_vindr"]["test"]
    assert "birads_vindr" not in evaluated.run.finetune.tasks and "ft_100" not in found
    assert {"lp_10", "lp_50", "lp_100"} < set(found)
    assert "birads_vindr" not in evaluated.metrics["forgetting"]


def test_forgetting_sets_the_fine_tuned_encoder_against_the_pretrained_one(evaluated) -> None:
    left = evaluated.metrics["forgetting"]
    assert set(left) == set(evaluated.run.finetune.tasks)
    of_vindr = {"mass_vindr", "calcification_vindr", "birads_vindr"}
    assert set(left["density_vindr"]["zero_shot"]) == of_vindr
    assert set(left["malignancy_screening"]["zero_shot"]) == {"malignancy_screening"}
    entry = left["density_vindr"]["zero_shot"]["mass_vindr"]
    known = evaluated.inputs.read_labels("vindr")[["image_id", "mass"]].dropna()
    tuned = evaluated.inputs.read_tuned_predictions()
    tuned = tuned[(tuned["encoder"] == "ft_density_vindr") & (tuned["task"] == "mass_vindr")].merge(
        known, on="image_id"
    )
    assert entry["after"]["auc"] == round(roc_auc_score(tuned["mass"].astype(bool), tuned["score"]), 4)
    assert entry["before"] == evaluated.metrics["mass_vindr"]["test"]["zero_shot"]["pretrained"]
    change = entry["difference"]
    assert change["auc"] == pytest.approx(entry["after"]["auc"] - entry["before"]["auc"], abs=1.01e-4)
    assert change["low"] <= change["auc"] <= change["high"]
    assert left["mass_vindr"]["retrieval"]["cc_to_mlo"]["difference"] == {
        "recall_at_1": -0.3132, "low": -0.4, "high": -0.2
    }  # fmt: skip


def test_risk_is_scored_per_exam(evaluated) -> None:
    risk, rows = evaluated.metrics["risk"], evaluated.inputs.read_predictions()
    exams = evaluated.inputs.read_labels("screening").drop_duplicates("exam_id").set_index("exam_id")
    rows = rows[(rows["task"] == "risk") & (rows["method"] == "exam") & (rows["horizon_years"] == 5)]
    last = rows.set_index("exam_id")["score"].reindex(exams.index).astype(float)
    to_cancer, followed = (exams[name].astype("Float64").to_numpy(float, na_value=np.nan) for name in
                           ("years_to_cancer", "years_followed"))  # fmt: skip
    events = ~np.isnan(to_cancer)
    expected = concordance_index(np.where(events, to_cancer, followed), -last, events)
    assert risk["exam"]["c_index"]["value"] == round(expected, 4)
    assert risk["exam"]["c_index"]["n"] == 60
    assert risk["exam"]["c_index"]["events"] == events.sum()
    known = (to_cancer <= 5) | (~events & (followed >= 5))
    assert risk["exam"]["auc_5y"]["value"] == round(roc_auc_score(to_cancer[known] <= 5, last[known]), 4)
    assert risk["exam"]["auc_5y"]["n"] == known.sum()
    assert set(risk) == {"exam", "view"}


def test_too_few_cancers_are_flagged_not_scored(evaluated) -> None:
    entry = evaluated.metrics["risk"]["exam"]["auc_1y"]
    assert entry["events"] < 10
    assert entry["value"] is entry["low"] is entry["high"] is None
    assert "10 patients" in entry["flag"]


def test_screen_detected_cancers_can_be_left_out(evaluated) -> None:
    labels = evaluated.inputs.read_labels("screening")
    early = set(labels.loc[labels["years_to_cancer"] < 0.5, "exam_id"])
    assert early
    assert set(followed_exams(labels, False).index) - set(followed_exams(labels, True).index) == early
    settings = evaluated.run.risk.model_copy(update={"exclude_screen_detected": True})
    images = evaluated.inputs.read_images("screening")
    strict = score_risk(evaluated.inputs.read_predictions(), labels, images, settings, 100, 0)
    assert strict["exam"]["c_index"]["n"] == 60 - len(early)


def test_a_breast_is_positive_if_any_image_is(evaluated) -> None:
    labels = evaluated.inputs.read_labels("screening").copy()
    first = labels.index[labels["malignant"] == True][0]  # noqa: E712
    breast = labels.loc[first, "breast_id"]
    labels.loc[labels["breast_id"] == breast, "malignant"] = [True, pd.NA]
    other = labels.loc[labels["malignant"] == False, "breast_id"].iloc[0]  # noqa: E712
    labels.loc[labels["breast_id"] == other, "malignant"] = [False, pd.NA]
    units = {u.setting: u for u in scored_breasts(evaluated.inputs.read_predictions(), labels, "malignant")}
    fusion = evaluated.metrics["fusion"]["malignant"]
    entry = fusion["image"]
    assert units["image"].grades.sum() == entry["positives"]  # the half-known positive still counts
    assert len(units["image"].grades) == entry["n"] - 1  # the half-known negative is unknown


@pytest.mark.parametrize("label", ["malignant", "calcification"])
@pytest.mark.parametrize(
    ("gain", "better", "base"),
    [
        ("gain", "fusion", "image"),
        ("gain_over_text", "fusion", "text"),
        ("gain_without_text", "fusion_without_text", "image"),
    ],
)
def test_fusion_is_scored_by_label_with_paired_gains(evaluated, label: str, gain: str, better: str, base: str) -> None:
    fusion = evaluated.metrics["fusion"][label]
    assert set(fusion) == {*FUSION_METHODS, "gain", "gain_over_text", "gain_without_text"}
    assert fusion[gain]["auc"] == pytest.approx(fusion[better]["auc"] - fusion[base]["auc"], abs=1.01e-4)
    assert fusion[gain]["low"] < fusion[gain]["auc"] < fusion[gain]["high"]


def test_an_image_outside_the_sealed_split_is_refused(evaluated) -> None:
    labels = {cohort: evaluated.inputs.read_labels(cohort) for cohort in evaluated.run.evaluate.cohorts}
    labels["vindr"] = labels["vindr"].iloc[1:]
    with pytest.raises(ValueError, match=r"mass_vindr, test: scored image_id vindr-p050-e0-L-CC"):
        scored_images(evaluated.inputs.read_predictions(), labels, evaluated.run.tasks)


def test_a_seed_that_skips_an_image_is_refused(evaluated) -> None:
    labels = {cohort: evaluated.inputs.read_labels(cohort) for cohort in evaluated.run.evaluate.cohorts}
    rows = evaluated.inputs.read_predictions()
    gap = rows.index[(rows["task"] == "mass_vindr") & (rows["method"] == "lp") & (rows["seed"] == 1)][0]
    with pytest.raises(ValueError, match="some seeds"):
        scored_images(rows.drop(gap), labels, evaluated.run.tasks)


def test_only_equal_units_are_compared() -> None:
    grades, patients = np.array([0, 1] * 20), np.arange(40).astype(str)
    better = Scored("t", "test", "lp_100", "pretrained", False, grades, np.zeros((1, 40)), patients)
    with pytest.raises(ValueError, match="different units"):
        gain_metrics(better, better._replace(patients=patients[::-1]), 100, 0)


def test_a_task_cannot_take_the_name_of_a_section(evaluated) -> None:
    tasks = {"risk": evaluated.run.tasks["mass_vindr"]}
    with pytest.raises(ValueError, match="risk is a section"):
        score(evaluated.inputs, evaluated.run.model_copy(update={"tasks": tasks}))


def test_keys_hold_no_dots_and_leaves_are_plain(evaluated) -> None:
    def walk(tree: object) -> None:
        if isinstance(tree, dict):
            assert all("." not in key for key in tree)
            for value in tree.values():
                walk(value)
        else:
            assert tree is None or isinstance(tree, int | str) or tree == round(tree, 4)

    walk(evaluated.metrics)
    assert setting_name("lp_paper", np.float32(0.1)) == "lp_paper_10"
    assert setting_name("zero_shot_mammo_clip", 0.0) == "zero_shot_mammo_clip"
    assert evaluated.metrics["encoder_weights"] == "random"
    assert evaluated.metrics["retrieval"]["screening"]["image_to_text"]["recall_at_1"] == 0.1235


def test_report_rates(evaluated) -> None:
    rates = evaluated.metrics["reports"]["pretrain"]["screening"]
    assert (rates["breasts"], rates["distinct"], rates["prompts"], rates["prompts_generated"]) == (80, 30, 15, 10)
    assert (rates["variants"], rates["drafts"], rates["generations"], rates["generated_tokens"]) == (2, 30, 40, 1050)
    assert rates["accepted_share"] == 0.5  # of the 20 drafts put to the LLM, 10 failed the audit
    assert rates["codes"] == {"budget": 10, "cut_off": 10, "hedge": 10, "unlisted_word": 10, "wrong_mass": 10}
    assert rates["llm_share"] == round(27 / 80, 4) and rates["template_share"] == round(53 / 80, 4)
    assert rates["duplicate_share"] == 0.625
    assert rates["equal_pair_share"] == round((20 * 3 * 2 + 10 * 2 * 1) / (80 * 79), 4)
    assert (rates["words_median"], rates["words_min"], rates["words_max"]) == (9, 9, 9)
    assert (rates["engine"], rates["revision"], rates["prompt_version"]) == ("vllm 0.32", "none", "v2")
    assert rates["findings"]["birads"] == {
        "1": {"prompts": 5, "accepted_share": 1.0, "template_share": 0.0},
        "2": {"prompts": 5, "accepted_share": 0.0, "template_share": 1.0},
        "3": {"prompts": 5, "accepted_share": None, "template_share": 1.0},
    }
    assert list(rates["findings"]) == ["mass", "birads", "laterality"]
    assert evaluated.metrics["pretrain"]["steps"] == 60
    assert evaluated.metrics["pretrain"]["validation_recall_at_1"] == 0.12
