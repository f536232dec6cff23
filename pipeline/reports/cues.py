"""The words around a mention of a finding that decide whether it is said to be there (pipeline/reports/polarity.py)."""

# Words that may stand between a cue and its finding without changing it.
FILLERS = frozenset(
    """
from findings finding
a an any some only the of evidence sign signs trace presence indication visible identifiable discernible detectable
mammographic recognizable demonstrable perceptible evident either single for also to as such
""".split()
)
JOINERS = frozenset(("and", "or", "nor", ",", "plus", "/", "&"))
# `a mass but not a calcification`
BUT = frozenset(("but", "and", ",", "though", "although", "yet"))
NO = frozenset(("no", "without", "neither", "nor", "lacks", "lacking", "nil", "never", "nothing"))
FREE = frozenset(("free", "devoid", "negative", "absence", "lack"))  # of, from, for
SHOW = frozenset(
    """
note notes record records report reports observe observes recognise recognises recognize recognizes
reveal feature featuring carries carry include includes comprise comprises
shows show showing shown reveals reveal revealed revealing demonstrates demonstrate demonstrated demonstrating contains
contain contained containing has have had having displays display displayed displaying exhibits exhibit exhibited
depicts depict depicted harbors harbours bears features presents positive see identify find detect
""".split()
)
WITH = frozenset(("with", "includes", "include", "including"))
BE = frozenset("is are was were be been being has have had can does do did = : also either cannot".split())
SEEN = frozenset(
    """
affirmed confirmed revealed displayed delineated discovered encountered exhibited
present seen visible noted identified detected observed found visualized visualised evident apparent appreciated shown
discernible identifiable recognized recognised demonstrated depicted demonstrable detectable perceptible discerned
documented there yes positive reported described
""".split()
)
ABSENT = frozenset(("absent", "none", "nil", "no", "negative", "lacking", "not"))
# What is done to a finding without saying whether it is there, and nouns that say how much of it there is.
HOLLOW = frozenset(
    """
assessed evaluated considered examined reviewed looked sought discussed addressed searched checked commented mentioned
assessment evaluation search review question status regard
group line pair series set area amount degree number point row
""".split()
)
ENDS = frozenset((".", ",", ";", "!", "", ")", "(", "and", "but", "while", "whereas", "with", "-"))
