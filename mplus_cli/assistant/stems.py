"""English words without their endings, and the forms of irregular ones: "kept" and "keep" are compared as one."""

from __future__ import annotations

import re
from functools import lru_cache

SUFFIXES = ("ingly", "edly", "ing", "ies", "ied", "ed", "es", "ly", "s")
POSSESSIVE = re.compile(r"['’]s?$")
IRREGULAR = """bear bore borne born|beat beaten|become became|begin began begun|bend bent|bind bound|bite bit bitten|
bleed bled|blow blew blown|break broke broken|breed bred|bring brought|build built|burn burnt|buy bought|catch caught|
child children|choose chose chosen|cling clung|come came|creep crept|deal dealt|die died dying dead death|dig dug|
draw drew drawn|dream dreamt|drink drank drunk|drive drove driven|dwell dwelt|eat ate eaten|fall fell fallen|
feed fed|feel felt|fight fought|find found|flee fled|fling flung|fly flew flown|foot feet|forbid forbade forbidden|
forget forgot forgotten|forgive forgave forgiven|freeze froze frozen|get got gotten|give gave given|go went gone goes|
goose geese|grow grew grown|half halves|hang hung|hear heard|hide hid hidden|hold held|keep kept|kneel knelt|
knife knives|know knew known|lay laid|lead led|leaf leaves|leap leapt|learn learnt|leave left|lend lent|
lie lay lain lying|life lives|light lit|lose lost|make made|man men|marry married marriage|mean meant|meet met|
mouse mice|pay paid|ride rode ridden|ring rang rung|rise rose risen|run ran|see saw seen|seek sought|sell sold|
send sent|shake shook shaken|shine shone|shoot shot|show shown|sing sang sung|sink sank sunk|sit sat|slay slew slain|
sleep slept|speak spoke spoken|spend spent|spin spun|spring sprang sprung|stand stood|steal stole stolen|
stick stuck|sting stung|strike struck stricken|swear swore sworn|sweep swept|swim swam swum|swing swung|
take took taken|teach taught|tear tore torn|tell told|think thought|thief thieves|throw threw thrown|tooth teeth|
understand understood|wake woke woken|wear wore worn|weep wept|wife wives|win won|wind wound|wolf wolves|
woman women|write wrote written"""
FAMILIES = [line.split() for line in IRREGULAR.replace("\n", "").split("|")]
FORMS = {form: family for family in FAMILIES for form in family}


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A case-folded word without its commonest English endings, irregular forms as their first."""
    word = POSSESSIVE.sub("", word)
    word = FORMS[word][0] if word in FORMS else word
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            word = _undoubled(word[: -len(suffix)]) + ("y" if suffix in ("ies", "ied") else "")
            break
    if len(word) > 3 and word[-1] in "ey":
        word = word[:-1] + ("i" if word[-1] == "y" else "")
    return word


def _undoubled(word: str) -> str:
    """ "stopp" as "stop"; "tell" and "pass" stay."""
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz" else word


def other_forms(word: str) -> list[str]:
    """Irregular forms of a word that no cutting of endings finds: "kept" for "keep"."""
    return [form for form in FORMS.get(word.casefold(), ()) if form != word.casefold()]
