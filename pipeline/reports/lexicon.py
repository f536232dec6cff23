"""The words of the report audit: what a report may be made of, and what names a thing its row does not hold.

NEUTRAL is complete: any other word refuses the report. CLAIMS only gives the refusal a telling code. Words for the
facts themselves (sides, density, BI-RADS, findings, age, views, vendor) are read by `phrases` and `polarity`.
"""

from pathlib import Path


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that, wherever they stand, say nothing about a patient or a breast. Their list was written without sight of any
# report that the audit is measured on.
NEUTRAL = _words((Path(__file__).parent / "neutral_words.txt").read_text(encoding="utf-8"))

# Of those, the ones that may stand between a finding and what is said of it.
FUNCTION = _words("""
a an the this that these those it its itself which who whom whose we our us i me you your she her hers herself
they them their theirs such same own either all any no not none nil never neither nor and or but yet
so for because since as although though while whilst whereas when whenever where wherever until
till before after once than then else despite notwithstanding besides however nonetheless nevertheless
therefore thus hence accordingly consequently moreover furthermore also too again likewise similarly additionally
respectively namely specifically together altogether overall generally simply just merely purely fully wholly entirely
completely clearly plainly readily easily distinctly actually indeed certainly formally mammographically
radiographically radiologically visually currently presently finally lastly firstly here there
hereby herein thereby therein now well rather how why what whatsoever
of in into on onto upon for at by to from with without within inside throughout across over under per via through
during amid amidst among amongst between beyond beside alongside along around about against toward towards regarding
concerning respecting including like unlike plus up down out off is are am was were be been being has have had having
do does did done doing can will shall let yes i.e e.g
""")

# Words that turn a statement round; each one must belong to a finding that the audit understood.
NEGATIONS = _words("""
no not without absent absence neither nor none never lack lacks lacking cannot free devoid negative nil non nothing
nobody fails failed nowhere minus
""")

CLAIMS: dict[str, frozenset[str]] = {
    "other_finding": _words("""
        architectural distortion asymmetry asymmetries asymmetric lymph node nodes lymphadenopathy adenopathy skin
        thickening nipple retraction inversion discharge edema oedema trabecular cyst cysts cystic fibroadenoma
        fibroadenomas lesion lesions nodule nodules lump lumps tumor tumour tumors tumours opacity opacities hematoma
        abscess scar abnormality abnormalities abnormal unremarkable remarkable duct ducts vascular condition disease
        spiculated circumscribed lobulated irregular pleomorphic clustered cluster grouped linear branching coarse
        amorphous round oval margin margins enhancement rupture ruptured
    """),
    "malignancy": _words("""
        cancer cancers cancerous malignant malignancy carcinoma ductal lobular invasive metastasis metastatic tumorous
        noncancerous neoplasm neoplastic
    """),
    "location": _words("""
        upper lower outer inner quadrant quadrants lateral medial central retroareolar subareolar anterior posterior
        axilla axillary oclock clock superior inferior periareolar depth behind near above below
    """),
    "other_organ": _words("""
        bone bones skull chest wall lung lungs liver brain heart spine rib ribs thyroid ovary uterus kidney pelvis
        abdomen muscle pectoral sclerosis scoliosis osteoporosis
    """),
    "modality": _words("""
        ultrasound sonography ultrasonography sonographic mri magnetic resonance ct pet tomosynthesis tomography dbt
        x-ray thermography scan scans
    """),
    "treatment": _words("""
        biopsy biopsied surgery surgical mastectomy lumpectomy chemotherapy radiotherapy radiation therapy treatment
        treated tamoxifen drug medication resection operation postoperative
    """),
    "recommendation": _words("""
        recommend recommended recommendation follow-up followup follow annual further additional correlation referral
        should must consult advised advise suggested
    """),
    "history": _words("""
        history prior previous previously compared comparison stable unchanged change changed new old-standing family
        genetic mother sister pregnancy menopause menopausal postmenopausal pain symptom symptoms symptomatic palpable
    """),
    "vendor": _words("""
        agfa carestream fischer fuji fujifilm ge giotto hologic ims kodak konica lorad philips planmed sectra siemens
        metaltronica electric senographe mammomat selenia microdose
    """),
    "sex": _words("male man men his he mr boy"),
    "measurement": _words("""
        mm cm millimeter millimeters millimetre millimetres centimeter centimeters centimetre centimetres cubic inch
        inches percent large small size
    """),
    "date": _words("""
        january february march april june july august september october november december monday tuesday
        wednesday thursday friday saturday sunday today yesterday date dated month months weeks days
    """),
    "name": _words("dr doctor hospital clinic center centre university radiologist physician name mrs ms"),
    "hedge": _words("""
        may might possible possibly probable likely unlikely perhaps suspected suspicion seems uncertain
        questionable if whether maybe potential potentially definite clear obvious excluded ruled
    """),
    "number": _words("one two three four five six seven eight nine ten several few many multiple numerous second"),
    "other_breast": _words("both bilateral bilaterally contralateral opposite other unilateral each"),
}
