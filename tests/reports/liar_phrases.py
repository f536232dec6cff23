"""The phrase tables of `liars`: true wordings of every fact, and lying wordings by kind of lie.

Wordings are separated by "|". {side} and {other} are the row's breast and the other one; {a}, {n}, {ns} name a finding
("a mass", "mass", "masses"); a name with a 2 stands for a value that is not the row's.
"""

WORDS = {
    0: "incomplete",
    1: "negative",
    2: "benign",
    3: "probably benign",
    4: "suspicious",
    5: "highly suggestive of malignancy",
    6: "known biopsy-proven malignancy",
}
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six")
ROMAN = ("0", "I", "II", "III", "IV", "V", "VI")
DENSITIES = {
    "A": ("is", "almost entirely fatty"),
    "B": ("has", "scattered areas of fibroglandular density"),
    "C": ("is", "heterogeneously dense"),
    "D": ("is", "extremely dense"),
}
IS_NOT = {"is": "is not", "has": "does not have"}
ARE = {"is": "are", "has": "have"}
DECADES = {30: "thirties", 40: "forties", 50: "fifties", 60: "sixties", 70: "seventies", 80: "eighties"}
MAKERS = {"siemens": "Siemens", "hologic": "Hologic", "ge": "GE", "fuji": "Fuji", "philips": "Philips"}
MAKERS["planmed"] = "Planmed"
NOUNS = {
    "mass": {"a": "a mass", "n": "mass", "ns": "masses", "look": "{look_mass}"},
    "calcification": {
        "a": "calcification",
        "n": "calcification",
        "ns": "calcifications",
        "look": "{look_calcification}",
    },
    "implant": {"a": "an implant", "n": "implant", "ns": "implants", "look": "{look_implant}"},
}
# key -> value -> what the value puts into the slots of a wording
NAMES: dict[str, dict[str | int, dict[str, str]]] = {
    "laterality": {"L": {}, "R": {}},
    "age_band": {
        f"{low}-{low + 9}": {
            "lo": str(low),
            "hi": str(low + 9),
            "decade": decade,
            "early": f"{low - 5}-{low + 4}",
            "late": f"{low + 5}-{low + 14}",
        }
        for low, decade in DECADES.items()
    },
    "views": {
        "CC+MLO": {"v": "{both_views}", "vs": "CC and MLO", "were": "were"},
        "CC": {"v": "{cc_view}", "vs": "CC only", "were": "was"},
        "MLO": {"v": "{mlo_view}", "vs": "MLO only", "were": "was"},
    },
    "vendor": {vendor: {"V": name} for vendor, name in MAKERS.items()},
    "density": {
        letter: {
            "d": letter,
            "w": text,
            "has": f"{verb} {text}",
            "have": f"{ARE[verb]} {text}",
            "hasnot": f"{IS_NOT[verb]} {text}",
        }
        for letter, (verb, text) in DENSITIES.items()
    },
    "birads": {k: {"k": str(k), "w": text, "numeral": NUMERALS[k], "roman": ROMAN[k]} for k, text in WORDS.items()},
}

# --- true wordings: key -> (prose, terse); findings are under present and absent
TRUE = {
    "laterality": (
        """
            this is a screening mammogram of the {side} breast| the {side} breast was examined|
            screening mammography of the {side} breast was performed| the examination covers the {side} breast|
            this report concerns the {side} breast| images of the {side} breast were reviewed|
            this study shows the {side} breast| the {side} breast is reported here|
            a {side}-sided screening mammogram was obtained
        """,
        """
            {side} breast| laterality: {side}| side: {side}| screening mammogram, {side} breast|
            {side} screening mammogram| {side}-sided mammogram| mammography, {side}| breast imaged: {side}
        """,
    ),
    "age_band": (
        """
            the patient is {lo} to {hi} years old| the patient is aged {lo}-{hi}|
            the patient is between {lo} and {hi} years of age| the patient belongs to the {lo}-{hi} age group|
            the age band is {lo}-{hi} years| the patient is in the {lo}-{hi} year age range|
            the examination was performed in a patient aged {lo} to {hi} years|
            the patient is in the age band {lo}-{hi}| the patient's age lies between {lo} and {hi} years
        """,
        """
            age {lo}-{hi}| age band: {lo}-{hi}| age: {lo} to {hi} years| patient aged {lo}-{hi}| {lo}-{hi} years|
            age group {lo}-{hi}| age range {lo}-{hi} years| patient {lo} to {hi} years old
        """,
    ),
    "views": (
        """
            {v} {were} obtained| {v} of the {side} breast {were} obtained| the examination consists of {v}|
            the study comprises {v}| {v} {were} acquired| {v} {were} reviewed|
            {v} of the {side} breast {were} acquired| {v} {were} available for this reading| {v} {were} performed
        """,
        """
            views: {vs}| projections: {vs}| {vs}| {vs} acquired| view(s) obtained: {vs}| {vs} imaging| exposures: {vs}|
            positioning: {vs}
        """,
    ),
    "vendor": (
        """
            the images were acquired on a {V} system| imaging was performed on a {V} unit|
            a {V} mammography system was used| the mammogram was acquired with {V} equipment|
            the {side} breast was imaged on a {V} unit| the manufacturer of the unit is {V}|
            the acquisition system was made by {V}| the mammography unit is a {V} device
        """,
        """
            vendor: {V}| {V} unit| {V} system| equipment: {V}| manufacturer: {V}| acquired on {V}| device: {V}|
            mammography unit: {V}
        """,
    ),
    "density": (
        """
            the {side} breast {has}| the breast tissue {has}| the {side} breast {has} (density {d})|
            breast density is category {d}| the breast composition is ACR category {d}|
            the breast composition is category {d}, {w}| the density of the {side} breast is {d}|
            the {side} breast {has}, density category {d}| the breast density is {d} ({w})|
            the {side} breast {has} (ACR {d})
        """,
        """
            density: {d}| density {d}| breast density: {d} ({w})| composition: {w}| ACR density {d}| density: {w}|
            composition {d}, {w}| breast composition: {d}
        """,
    ),
    "birads": (
        """
            the assessment is BI-RADS {k}| the {side} breast is assessed as BI-RADS category {k}|
            this corresponds to BI-RADS {k} ({w})| the overall assessment is BI-RADS {k}, {w}|
            the final assessment category is BI-RADS {k}: {w}| the study is classified as BI-RADS {k}|
            BI-RADS category {k} ({w}) is assigned| the examination is rated BI-RADS {k}|
            the {side} breast is assigned BI-RADS {k}, {w}| the assessment is BI-RADS category {k} - {w}
        """,
        """
            BI-RADS {k}| BI-RADS: {k}| BI-RADS {k} ({w})| assessment: BI-RADS {k}, {w}| BI-RADS category {k} - {w}|
            category: BI-RADS {k}| final assessment BI-RADS {k}: {w}| BI-RADS category: {k} ({w})
        """,
    ),
    "present": (
        """
            {a} is present in the {side} breast| {a} is seen| there is {a} in the {side} breast|
            the {side} breast contains {a}| the {side} breast shows {a}| the mammogram demonstrates {a}|
            {a} is identified| {a} is visible on the {side}| {a} is noted in the breast| {a} can be seen
        """,
        """
            {n}: present| {n} present| {n}: yes| {n} seen| positive for {n}| {n}: seen| {n} identified| {n} visible
        """,
    ),
    "absent": (
        """
            no {n} is seen| no {n} is present in the {side} breast| there is no {n}|
            there is no {n} in the {side} breast| the {side} breast contains no {n}| the {side} breast is free of {ns}|
            {n} is absent| no {n} is identified| there is no evidence of {a}| the mammogram shows no {n}
        """,
        """
            {n}: absent| {n}: none| no {n}| {n}: no| {n} absent| negative for {n}| {n}: not seen| no {n} seen
        """,
    ),
}
# (mass, calcification) -> both in one sentence
PAIRS = {
    (False, False): """
        neither a mass nor calcification is seen| no mass or calcification is present in the {side} breast|
        there is no mass and no calcification| mass and calcification are both absent|
        the {side} breast shows no mass and no calcification| no mass and no calcification is identified
    """,
    (True, False): """
        a mass is present, but there is no calcification| the {side} breast contains a mass but no calcification|
        a mass is seen, whereas calcification is absent| no calcification is seen, but a mass is present|
        there is a mass in the {side} breast and no calcification| not calcification but a mass is seen
    """,
    (False, True): """
        calcification is present, but there is no mass| the {side} breast contains calcification but no mass|
        calcification is seen, whereas a mass is absent| no mass is seen, but calcification is present|
        there is calcification in the {side} breast and no mass| not a mass but calcification is seen
    """,
    (True, True): """
        a mass and calcification are present| both a mass and calcification are seen in the {side} breast|
        there is a mass as well as calcification| the {side} breast contains a mass and calcification|
        calcification is present, and so is a mass| in addition to calcification, a mass is seen
    """,
}

# --- lies about a finding: of one the row denies, of one it holds, of one it denies or does not mention
CLAIMED = """
    {a} cannot be excluded| {a} cannot be ruled out in the {side} breast| {n} is not absent|
    the {side} breast is not free of {ns}| {a} may be present| there is possibly {a}|
    {a} is suspected in the {side} breast| the absence of {a} cannot be confirmed|
    there is no doubt about the presence of {a}| no abnormality other than {a} is seen|
    the {side} breast is unremarkable apart from {a}| {a} is hard to overlook| {a}, though not easily seen, is present|
    it cannot be said that there is no {n}| it would be wrong to report that no {n} is seen| the {n} is well seen|
    the {n} has an unremarkable appearance| not only is {a} present, it is also conspicuous|
    the {side} breast is not without {a}| there is no absence of {ns}| no view fails to show {a}|
    {a} is questioned in the {side} breast| no suspicious {n} is seen, the {n} that is present being unremarkable|
    at least one {n} is seen| nothing is seen except {a}| {a} is more likely present than absent|
    a subtle {n} is not to be dismissed
"""
DENIED = """
    no {n} can be made out| the search for {a} was negative| {a} was excluded| {a} has been ruled out|
    the {side} breast is devoid of {ns}| {a} is not demonstrated| not a single {n} is seen| {a} is nowhere to be seen|
    nothing to suggest {a} is seen| the presence of {a} cannot be confirmed| it is doubtful whether {a} is present|
    {a} was looked for but not found| the {side} breast lacks {a}| the mammogram is negative for {n}|
    at no point is {a} seen| what resembles {a} is only superimposed tissue|
    far from showing {a}, the {side} breast is clear| the absence of {a} is confirmed| {a} is not present|
    the mammogram fails to show {a}| there is an absence of {ns}|
    the {side} breast has neither {a} nor anything resembling one| without {a} in view, the {side} breast is clear|
    {n} is not seen in any projection| one could suspect {a}, but none is there| there are no {ns} to report|
    the {side} breast is normal and without {ns}
"""
SYNONYMS = {
    "mass": """
        a nodule is present in the {side} breast| there is a space-occupying lesion| a nodular opacity is seen|
        a tumour is visible in the {side} breast| a lump is depicted| the {side} breast contains two masses
    """,
    "calcification": """
        microcalcifications are present| calcified foci are seen in the {side} breast| there are calcifications|
        a few calcifications are scattered in the {side} breast| the tissue is focally calcified|
        a cluster of microcalcifications is seen
    """,
    "implant": """
        a breast prosthesis is in place| there is a silicone prosthesis in the {side} breast|
        implant material is visible| the {side} breast has been augmented|
        the breast is imaged with its implant in view| implant contour is smooth
    """,
}
# a finding taken for granted, in a report that also says it is absent
REFERRED = """
    the {n} is suspicious| the {n} described above deserves attention| this {n} determines the assessment|
    the {n} is the dominant finding| the assessment is based on the {n}| the {n} lies within the {side} breast|
    the appearance of the {n} is characteristic| overall, the {n} is the only abnormality
"""

# --- lies about side and values; "key=value" holds only for that value
SIDES = {
    "laterality": """
        bilateral screening mammography was performed| the {side} and {other} breasts were examined|
        this is a screening mammogram of both breasts| not the {side} but the {other} breast was examined|
        this is a mammogram of the {other} breast
    """,
    "density": """
        both breasts {have}| the {other} breast {has}| the contralateral breast {has} (density {d})
    """,
    "finding": """
        {finding} is seen in the contralateral breast| {finding} is present in the {other} breast|
        {finding} is identified on the opposite side| {finding} is seen in both breasts|
        {finding} is visible bilaterally
    """,
    "birads": """
        the {other} breast is assessed as BI-RADS {k}| the contralateral breast is assigned BI-RADS {k}, {w}|
        both breasts are assessed as BI-RADS {k}
    """,
}
CHANGED = {
    "birads": """
        the assessment is {w2}| overall, the study is best described as {w2}| the assessment is BI-RADS {k} or {k2}|
        the assessment lies between BI-RADS {k} and BI-RADS {k2}| the assessment is not BI-RADS {k} but BI-RADS {k2}|
        the assessment is BI-RADS category {numeral2}| the study is classified as BI-RADS {roman2}|
        BI-RADS {k2}, rather than {k}, is assigned| the assessment is BI-RADS {k}, which means {w2}|
        the category is {numeral2}, {w2}| the assessment is BI-RADS {k2} on the five-point scale|
        the assessment, {w}, corresponds to BI-RADS {k2}
    """,
    "birads=4": """
        the assessment is BI-RADS 4{abc}| the study is classified as BI-RADS 4{abc}, {w}|
        BI-RADS category 4, subcategory {abc}, is assigned| the {side} breast is assessed as BI-RADS 4 ({abc})|
        this corresponds to BI-RADS IV{abc}| the assessment is BI-RADS 4, with {suspicion} suspicion of malignancy
    """,
    "density": """
        the {side} breast {has2} (density {d})| the {side} breast {has} (density {d2})| the {side} breast {hasnot}|
        the breast composition lies between category {d} and category {d2}| breast density is {d} or {d2}|
        the {side} breast {has2}| density category {d}, {w2}, is recorded| density {d2} rather than {d} is recorded|
        the breast tissue {has} and elsewhere {has2}| breast density is not {d}|
        the density is homogeneous, category {d2}| the {side} breast {has2} in most places, category {d2}
    """,
    "density=A": """
        the {side} breast is dense| dense parenchyma limits the sensitivity| the {side} breast counts as dense
    """,
    "density=B": """
        the {side} breast is dense| dense parenchyma limits the sensitivity| the {side} breast counts as dense
    """,
    "density=C": """
        the {side} breast is not dense| the breast is mostly fat| the {side} breast is largely fatty-replaced
    """,
    "density=D": """
        the {side} breast is not dense| the breast is mostly fat| the {side} breast is largely fatty-replaced
    """,
    "age_band": """
        the patient is {years} years old| the report concerns a {years}-year-old patient|
        the patient was born in {born}| the patient turned {years} this year| the patient is aged {years}|
        at the time of screening the age was {years}| the patient is in their {decade2}| the age band is {early}|
        the patient is aged {late} years| the age group is {late}| the patient is younger than {lo}|
        the patient is over {hi} years old| the patient is about {years} years of age
    """,
    "views": """
        {v} and spot compression views were obtained| {v} and additional magnification views were acquired|
        {v} and a true lateral view were obtained| besides {v}, an exaggerated craniocaudal view was acquired|
        {v} and tomosynthesis of the {side} breast were obtained| {v} and a rolled view were reviewed|
        {v} {were} supplemented by a mediolateral (ML) view| {v} and a cleavage view were acquired|
        {v} {were} followed by a repeat exposure| in addition to {v}, a tangential view was obtained|
        not {v} but {v2} {were2} obtained| {v} {were} obtained with synthetic 2D images
    """,
    "vendor": """
        the images were acquired on a Canon system| imaging was performed on a Giotto unit|
        a Metaltronica unit was used| the images were acquired with an Agfa computed radiography reader|
        a Carestream system was used| the manufacturer of the unit is Toshiba| a Selenia Dimensions unit was used|
        a Mammomat Inspiration was used| imaging was performed on a Senographe Pristina|
        an Amulet Innovality unit was used
    """,
}

# --- what a row never holds: kind -> (section, wordings); {a} replaces the sentence of a finding that is present,
# {n} follows it; the sections are 0 examination, 1 findings, 2 impression
INVENTED = {
    "added finding": (
        1,
        """
            there is {f} in the {side} breast| {f} is seen| {f} is also present| {f} cannot be excluded|
            additionally, {f} is noted| the {side} breast shows {f}| {f} is suspected| subtle signs of {f} are visible|
            the images demonstrate {f}| {f} accompanies these findings| the {n} is associated with {f}|
            {a} with {f} is seen
        """,
    ),
    "unsupported negative": (
        1,
        """
            no {sign} is seen| there is no {sign}| {sign} is absent| the {side} breast shows no {sign}|
            no {sign} or {sign} is identified| the skin and nipple are unremarkable| the axilla is unremarkable|
            the retroareolar region is normal| no other abnormality is seen
        """,
    ),
    "other breast": (
        1,
        """
            the {other} breast is unremarkable| no abnormality is seen in the {other} breast|
            the contralateral breast is normal| the {other} side shows no mass|
            calcification is present in the {other} breast| the {other} breast was also examined and is negative|
            both breasts are symmetric| compared with the {other} breast the tissue is symmetric|
            on the opposite side there is nothing of note| the {other} breast {has}|
            the {other} breast has been removed| a mass is present in the contralateral breast|
            the {other} breast is assessed as BI-RADS {digit}
        """,
    ),
    "size or position": (
        1,
        """
            {a} measuring {mm} mm is present in the {side} breast| {a} is seen {position}|
            the {side} breast contains {a} {position}| {a} with a maximum extent of {few}.{far} cm is noted|
            the {n} measures {mm} mm| the {n} lies {position}| {a} spanning {mm} x {mm2} mm is identified {position}|
            the {n} is located {far} cm from the nipple| there is {a} at {hour} o'clock|
            the {n} is {mm} mm in diameter| the {n} projects over the {third} third of the breast|
            the finding in question extends over {mm} mm| the compressed breast thickness is {mm2} mm|
            a focus of interest is situated {position}| the nipple-to-muscle distance is {mm2} mm|
            attention is drawn to the area {position}
        """,
    ),
    "descriptor": (
        1,
        """
            the {n} is {look}| the {n} appears {look}| {a}, {look} in appearance, is seen|
            {a} that is {look} is present in the {side} breast| the {side} breast contains {a} which is {look}|
            {a} is present and {look}| the appearance of the {n} is {look}| {a} is identified, and it is {look}
        """,
    ),
    "comparison": (
        1,
        """
            the {n} is unchanged since {year}| {a}, new since the prior study, is present|
            the {n} has grown since the last screening round| compared with the mammogram of {year} there is no change|
            the appearance is stable| no prior examinations are available for comparison| no interval change is seen|
            as on the previous mammogram, {a} is seen| there is no significant change from earlier images|
            the previous study from {year} was used for comparison| the tissue has become less dense since {year}|
            this is the patient's first mammogram| {a} is seen again| the findings were already visible {few} years ago
        """,
    ),
    "history": (
        0,
        """
            the patient is being followed after lumpectomy| the patient reports a palpable lump|
            there is a family history of breast cancer| the patient has had radiotherapy|
            the patient presents with nipple discharge| a breast reduction was performed in {year}|
            the patient takes hormone replacement therapy| the patient complains of breast pain|
            a previous benign biopsy is reported| the patient is postmenopausal|
            the patient carries a BRCA{one} mutation| neoadjuvant chemotherapy has been given|
            surgical clips mark a previous excision| the patient is asymptomatic|
            the mother had breast cancer at {years}| a postoperative scar is visible
        """,
    ),
    "recommendation": (
        2,
        """
            ultrasound is recommended| routine screening in {few} years is recommended|
            follow-up in {months} months is advised| tissue sampling is recommended|
            recall for further assessment is advised| MRI should be considered| spot compression views are suggested|
            no further action is needed| the patient should return for annual screening|
            clinical correlation is advised| surgical referral is suggested| stereotactic biopsy should be arranged|
            the patient may return to routine screening| short-interval follow-up is appropriate
        """,
    ),
    "other modality": (
        1,
        """
            ultrasound shows a hypoechoic area| MRI demonstrates no enhancement| on tomosynthesis the finding persists|
            targeted sonography was negative| the ultrasound examination is normal|
            contrast-enhanced mammography shows mild background enhancement| the {n} has an ultrasound correlate|
            the {n} enhances on MRI| elastography was performed| PET-CT shows no uptake|
            {a}, confirmed by ultrasound, is seen| a thermogram was reviewed
        """,
    ),
    "other organ": (
        1,
        """
            the heart is of normal size| the lungs are clear| the thyroid is enlarged| the liver is unremarkable|
            the visible ribs are intact| the pectoral muscle is normal| the axillary lymph nodes are normal|
            no pleural effusion is seen| a pacemaker projects over the image| the thoracic spine is degenerate|
            the ovaries were not assessed| the clavicle is partly included
        """,
    ),
    "person, place or date": (
        0,
        """
            the images were read by Dr. {name}| the patient, {first} {name}, was screened|
            the examination took place at {place}| the mammogram was acquired on {day} {month} {year}|
            this report was signed by {first} {name}, MD| the study was performed at {place} in {month} {year}|
            Dr. {name} referred the patient| the report is dated {day}.{months}.{year}|
            second reading was by {first} {name}| the accession number is {years}{mm2}{year}|
            the patient lives in {town}| the examination belongs to the {town} screening programme
        """,
    ),
    "diagnosis": (
        2,
        """
            the findings are consistent with {disease}| this represents {disease}|
            the appearance is typical of {disease}| {disease} is the most likely diagnosis| {disease} is suspected|
            histology showed {disease}| the differential diagnosis includes {disease}| the {n} represents {disease}|
            the {n} is consistent with {disease}| {a} caused by {disease} is seen|
            the {n} is compatible with {disease}| {disease} cannot be excluded
        """,
    ),
}
SLOTS = {
    "f": """
        architectural distortion| a focal asymmetry| skin thickening| nipple retraction| axillary lymphadenopathy|
        a cyst| a fibroadenoma| a dilated duct| trabecular thickening| a global asymmetry| an intramammary lymph node|
        skin retraction| an oil cyst| a lipoma| a haematoma| fat necrosis| oedema| a seroma| a skin lesion|
        a surgical clip
    """,
    "sign": """
        architectural distortion| asymmetry| skin thickening| nipple retraction| lymphadenopathy| ductal dilatation|
        trabecular thickening| skin retraction
    """,
    "position": """
        in the upper outer quadrant| in the lower inner quadrant| in the upper inner quadrant|
        in the lower outer quadrant| in the retroareolar region| in the axillary tail|
        in the medial half of the breast| close to the chest wall| at 3 o'clock| at the 10 o'clock position|
        in the anterior third| laterally| superiorly| at posterior depth| centrally behind the nipple
    """,
    "third": "anterior| middle| posterior",
    "disease": """
        invasive ductal carcinoma| DCIS| ductal carcinoma in situ| invasive lobular carcinoma| a phyllodes tumour|
        mastitis| sclerosing adenosis| fibrocystic change| Paget disease| a papilloma| lymphoma| a radial scar|
        a fibroadenoma| fat necrosis| mucinous carcinoma| a galactocele
    """,
    "name": """
        Keller| Okafor| Lindqvist| Moreau| Tanaka| Novak| Rossi| Haddad| Fernandes| O'Brien| Schmidt| Patel
    """,
    "first": "Anna| Maria| Ingrid| Claire| Yuki| Elena| Fatima| Grace| Sofia| Helen",
    "place": """
        St. Mary's Hospital| the Karolinska University Hospital| the Riverside Breast Clinic| Mount Sinai|
        the Northfield Imaging Centre| the Royal Infirmary| the mobile unit in Lyon| Hanoi Central Hospital
    """,
    "town": "Stockholm| Leeds| Turin| Hanoi| Boston| Nijmegen| Munich| Porto",
    "month": "January| March| April| June| September| October| November",
    "both_views": """
        craniocaudal and mediolateral oblique views| CC and MLO views| CC and MLO projections|
        both a craniocaudal and a mediolateral oblique view| two views, CC and MLO,
    """,
    "cc_view": """
        a single craniocaudal view| one CC view| a single CC projection| one craniocaudal projection
    """,
    "mlo_view": """
        a single mediolateral oblique view| one MLO view| a single MLO projection| one mediolateral oblique projection
    """,
    "abc": "A| B| C",
    "suspicion": "low| moderate| high",
    "look_mass": """
        spiculated| round| irregular in shape| circumscribed| high in density| obscured at its margins| lobulated|
        oval| fat-containing| multifocal| retractile| small
    """,
    "look_calcification": """
        pleomorphic| coarse| clustered| linear and branching| vascular| punctate| amorphous| segmental| popcorn-like|
        dystrophic| rim-shaped| diffuse
    """,
    "look_implant": """
        ruptured| intact| filled with silicone| filled with saline| subpectoral| retroglandular| folded| encapsulated
    """,
}
NUMBERS = {
    "mm": (3, 40),
    "mm2": (10, 79),
    "hour": (1, 12),
    "far": (2, 9),
    "year": (2009, 2023),
    "few": (2, 4),
    "months": (3, 12),
    "one": (1, 2),
    "years": (38, 82),
    "day": (1, 28),
    "digit": (1, 5),
    "born": (1938, 1984),
}

# --- facts left out behind an empty sentence, and facts given to the wrong subject
EMPTY = {
    "finding": """
        the {side} breast was evaluated for {ns}| the presence or absence of {a} was recorded|
        attention was paid to possible {ns}| the images were searched for {a}| {n}: see images|
        a statement on {ns} is given elsewhere
    """,
    "density": """
        breast density was assessed| the breast composition was reviewed| density: as recorded|
        the composition of the {side} breast was graded| density was categorised by the ACR lexicon|
        the tissue pattern was noted
    """,
    "birads": """
        a BI-RADS category was assigned| BI-RADS: see summary| the study was classified by the BI-RADS lexicon|
        an overall assessment was made| the final category is recorded separately| the assessment is given below
    """,
    "age_band": """
        the patient's age was recorded| age: on file| the patient is of screening age| the age band is known|
        the age is as stated in the request| the patient is an adult
    """,
    "views": """
        mammographic images were obtained| the images are of diagnostic quality| views: as listed|
        the views were complete| the requested projections were acquired| positioning was adequate
    """,
    "vendor": """
        a digital mammography system was used| the images were acquired digitally| equipment: as recorded|
        the vendor is known| the usual mammography unit was used| full-field digital equipment was used
    """,
    "laterality": """
        one breast was examined| this is a unilateral screening mammogram| a single breast was imaged|
        the breast was examined| the side is indicated on the images| laterality: as marked
    """,
}
SUBJECTS = """
    the axilla| the pectoral muscle| the skin| the chest wall| the nipple| the {other} breast| the axillary tail
"""
WRONG_SUBJECT = {
    "density": """
        {subject} {has}| {subject} {has} (density {d})| the density of {subject} is category {d}|
        {subject} corresponds to ACR density {d}| {subject} is of density {d}, {w}| the composition of {subject} is {d}
    """,
    "present": """
        {a} is seen in {subject}| {subject} contains {a}| {subject} shows {a}| there is {a} in {subject}|
        {a} is present within {subject}| {a} projects over {subject} only
    """,
    "absent": """
        {subject} is free of {ns}| no {n} is seen in {subject}| {subject} contains no {n}|
        there is no {n} in {subject}| {subject} shows no {n}| {n} is absent from {subject}
    """,
    "birads": """
        {subject} is assessed as BI-RADS {k}| the lymph nodes are classified as BI-RADS {k}|
        the breast density is BI-RADS {k}| BI-RADS {k} applies to {subject}| the previous study was BI-RADS {k}, {w}|
        BI-RADS {k} had been assigned elsewhere
    """,
    "age_band": """
        the mammography unit is {lo} to {hi} years old| the reader is aged {lo}-{hi}|
        the patient's mother is {lo}-{hi} years old| the compressed thickness is {lo}-{hi} mm|
        menopause occurred between {lo} and {hi} years of age| first symptoms appeared at the age of {lo} to {hi}|
        the tube voltage was {lo}-{hi} kV
    """,
    "vendor": """
        the implant was made by {V}| ultrasound was performed on a {V} scanner| the report was dictated by Dr. {V}|
        the workstation was supplied by {V}| the previous study was acquired on a {V} unit| the archive is a {V} system
    """,
    "views": """
        {v} of the {other} breast {were} obtained| {v} {were} available from the previous examination|
        {v} {were} not obtained| {v} {were} recommended| {v} of the specimen {were} obtained|
        {v} {were} taken elsewhere last year
    """,
}
HEADINGS = (
    ("EXAMINATION", "FINDINGS", "IMPRESSION"),
    ("Study", "Findings", "Assessment"),
    ("Examination", "Description", "Conclusion"),
    ("TECHNIQUE", "REPORT", "SUMMARY"),
)
OPENERS = ("mammographically, ", "on these images, ", "on this study, ", "on review, ")
