"""The words of the report audit: what a report may be made of, and what names a thing its row does not hold.

ALLOWED is complete: any other word refuses the report. CLAIMS only gives the refusal a telling code. Words for
the facts themselves (sides, density, BI-RADS, findings, age, views, vendor) are handled in `audit`.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALLOWED = _words("""
a an the and or nor but with of in on for at by to as there
is are was were has have been being
breast breasts mammogram mammograms mammography mammographic view views image images imaging imaged
report patient patients age aged ages year years old range band group between
density densities composition tissue parenchyma parenchymal pattern
category categories assessment rated classified assigned graded given considered score final overall bi-rads
described shown shows show showing examined evaluated evaluation examination exam study performed obtained acquired
reveal reveals demonstrate demonstrates contain contains display displays exhibit exhibits includes including
does do did presence evidence sign signs
present seen visible noted identified detected observed found visualized visualised evident
also any side sided laterality machine system device vendor manufacturer unit made indicates indicating
consistent corresponds corresponding according within
no not without absent absence neither lack
""")

# Words that turn a statement round; each one must belong to a finding that the audit understood.
NEGATIONS = _words("no not without absent absence neither none never lack lacks lacking cannot free non nothing nobody")

CLAIMS: dict[str, frozenset[str]] = {
    "other_finding": _words("""
        architectural distortion asymmetry asymmetries asymmetric lymph node nodes lymphadenopathy skin thickening
        nipple retraction inversion discharge edema oedema trabecular cyst cysts cystic fibroadenoma fibroadenomas
        lesion lesions nodule nodules lump lumps tumor tumour tumors tumours opacity opacities microcalcification
        microcalcifications hematoma abscess scar abnormality abnormalities abnormal normal unremarkable remarkable
        spiculated circumscribed lobulated irregular pleomorphic clustered cluster linear branching coarse amorphous
        margin margins enhancement findings finding condition disease
    """),
    "malignancy": _words("""
        cancer cancers cancerous malignant malignancy carcinoma ductal lobular invasive metastasis metastatic tumorous
        noncancerous
    """),
    "location": _words("""
        upper lower outer inner quadrant quadrants lateral medial central retroareolar subareolar anterior posterior
        axilla axillary oclock clock superior inferior periareolar depth
    """),
    "other_organ": _words("""
        bone bones skull chest lung lungs liver brain heart spine rib ribs thyroid ovary uterus kidney pelvis abdomen
        muscle sclerosis scoliosis osteoporosis
    """),
    "modality": _words("""
        ultrasound sonography ultrasonography mri magnetic resonance ct pet tomosynthesis tomography dbt x-ray
        radiograph radiographs thermography scan scans
    """),
    "treatment": _words("""
        biopsy biopsied surgery surgical mastectomy lumpectomy chemotherapy radiotherapy radiation therapy treatment
        treated tamoxifen drug medication resection operation
    """),
    "recommendation": _words("""
        recommend recommended recommendation follow-up followup follow routine screening annual further additional
        correlation referral should consult advised suggested
    """),
    "history": _words("""
        history prior previous previously compared comparison stable unchanged change changed new old-standing family
        genetic mother sister pregnancy menopause menopausal pain symptom symptoms palpable
    """),
    "sex": _words("woman women female male man men lady her his she he mrs mr ms girl"),
    "measurement": _words(
        "mm cm millimeter millimeters centimeter centimeters cubic inch inches percent large small size"
    ),
    "date": _words("""
        january february march april june july august september october november december monday tuesday
        wednesday thursday friday saturday sunday today yesterday date dated month months weeks days
    """),
    "name": _words("dr doctor hospital clinic center centre university radiologist physician sarah john smith name"),
    "hedge": _words("""
        may might possible possibly probable likely unlikely could perhaps suspected suspicion appears seems uncertain
        questionable cannot if whether maybe potential potentially
    """),
    "number": _words("one two three four five six seven eight nine ten several few many multiple single numerous"),
    "other_breast": _words("bilateral bilaterally both contralateral opposite unilateral"),
}
