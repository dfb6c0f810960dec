"""Words that carry no topic, by language: dropped from a question before full-text search.

A word may be empty in one language and weighty in another ("die", "war", "hat"), so the list of the language that a
question shares most words with is used, and only that one.
"""

from __future__ import annotations

from collections.abc import Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP_WORDS: dict[str, frozenset[str]] = {
    "en": _words(
        """a about above after again against all also am an and any are as at be because been before being below
        between both but by can could did do does doing done down during each few for from further had has have having
        he her here hers herself him himself his how i if in into is it its itself just me might more most must my
        myself no nor not now of off on once one only or other our ours out over own said same say says she should so
        some such than that the their theirs them themselves then there these they this those through to too under
        until up upon very was we were what when where which while who whom whose why will with would yet you your
        yours yourself tell happen happens happened please name"""
    ),
    "de": _words(
        """aber alle als also am an auch auf aus bei bin bis bist da damit dann das dass dem den der des die dies diese
        dieser doch du durch ein eine einem einen einer eines er es euch für gegen haben hat hatte ich ihm ihn ihr ihre
        im in ist ja kann kein keine man mein mit nach nicht noch nun nur ob oder ohne sein seine sich sie sind so über
        um und uns unter vom von vor war waren warum was welche wenn wer werden wie wieder wird wo wurde zu zum zur
        wem wen wessen welcher wann"""
    ),
    "fr": _words(
        """a à ai au aux avec c ce ces cette comme d dans de des du elle elles en est et était être eu fait il ils
        je l la le les leur leurs lui m ma mais me même mes moi mon n ne nos notre nous on ont ou où par pas pour
        pourquoi qu quand que quel quelle quelles quels qui quoi s sa sans se ses si son sont sur ta te tes toi ton tu
        un une vos votre vous y comment dont sous"""
    ),
    "es": _words(
        """a al algo como con cual cuál cuando cuándo de del desde donde dónde dos el él ella ellas ellos en entre era
        es esa ese eso esta está este esto fue ha había han hasta hay la las le les lo los más me mi muy no nos o para
        pero por porque que qué quien quién se ser si sí sin sobre son su sus también te tiene tu tú un una uno y ya yo
        cómo"""
    ),
    "it": _words(
        """a ad agli ai al alla alle anche c che chi ci come con cosa cui da dagli dai dal dalla delle dei del della di
        dove e è ed era gli ha hanno i il in io l la le lei li lo loro lui ma mi ne nei nel nella noi non o per perché
        più quale quando quanto questa questo se si sono su sua sue sugli sui sul sulla suo suoi tra tu un una uno vi
        voi"""
    ),
    "ru": _words(
        """а без был была были было быть в вам вас весь во вот все всё вы где да для до его ее её ей ему если есть еще
        ещё же за и из или им их к как какой когда кого кто ли мне мы на над не него нет но ну о об он она они оно от
        по под почему при с со так там то тот ты у уже чем что чтобы это я"""
    ),
    "nl": _words(
        """aan al als bij dan dat de der deze die dit door een en er had heb heeft het hij hoe hun ik in is je kan maar
        me met mijn naar niet nog nu of om ons ook op over te toen tot u uit van voor waar waarom wanneer was wat we
        welke werd wie wij wordt zal ze zich zij zijn zo"""
    ),
}


def content_words(words: Sequence[str]) -> list[str]:
    """The words that carry a topic; all of them when none would be left."""
    lowered = [word.casefold() for word in words]
    stops = max(STOP_WORDS.values(), key=lambda language: sum(word in language for word in lowered))
    return [word for word, low in zip(words, lowered, strict=True) if low not in stops] or list(words)
