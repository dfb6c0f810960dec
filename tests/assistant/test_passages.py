"""Sentences and their support: laws and examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mplus_cli.assistant.cues import ABOUT, DEFINED, quest, question_weights, widened_query
from mplus_cli.assistant.engine import until_stop
from mplus_cli.assistant.passages import (
    ALONE,
    LONGEST_QUOTE,
    WORTH,
    in_context,
    overlaps,
    score,
    sentences,
    supported,
)
from mplus_cli.assistant.stems import stem

TEXT = (
    "Mr. Dashwood had one son. “Who betrayed Pierre?” asked Natasha. It was Dolokhov who betrayed him; nobody knew.\n\n"
    "The ship sailed on 4 May. Anna, a teacher, lived in Paris! She had three cats… They slept."
)


def texts(found):
    return [sentence.text for sentence in found]


def test_sentences_are_cut_at_their_ends_and_not_at_titles():
    assert texts(sentences("d", TEXT, 0, len(TEXT)))[:3] == [
        "Mr. Dashwood had one son.",
        "“Who betrayed Pierre?” asked Natasha.",
        "It was Dolokhov who betrayed him; nobody knew.",
    ]


@given(st.text(alphabet="aB .!?\n“”1", max_size=300), st.integers(0, 300), st.integers(0, 300))
def test_every_sentence_is_the_text_between_its_offsets(text, one, other):
    start, end = min(one, other, len(text)), min(max(one, other), len(text))
    for sentence in sentences("d", text, start, end):
        assert text[sentence.start : sentence.end] == sentence.text
        assert sentence.text == sentence.text.strip() != ""


@pytest.mark.parametrize(
    "marked",
    [
        "Gold (see State Geol. Survey, Bull. 19) was found.| It was sold.",
        "He came (He saw. He won.) and left.| It rained.",
        "A smile :( He left.| She stayed.",
        "It was open (never closed.| It rained.|\n\nIt shone) again.",
        "As Fig. 2 shows, it rose.| It fell.",
        "Letter I.|\n\nTo Mrs. Saville, England.",
    ],
)
def test_a_sentence_is_not_cut_within_a_parenthesis_and_always_at_an_empty_line(marked):
    text = marked.replace("|", "")
    assert texts(sentences("d", text, 0, len(text))) == [piece.strip() for piece in marked.split("|")]


@given(st.text(min_size=1, max_size=4000))
def test_no_sentence_is_endless(text):
    assert all(len(sentence.text) <= 600 for sentence in sentences("d", text, 0, len(text)))


PARAGRAPHS = st.lists(
    st.lists(
        st.sampled_from(["He left.", "She had three cats and a dog, and no money at all.", "“Why?” “It rained.”"])
    ),
    max_size=12,
).map(lambda paragraphs: "\n\n".join(" ".join(some) for some in paragraphs if some))


@given(PARAGRAPHS, st.integers(0, 50))
def test_a_quote_is_whole_sentences_of_its_paragraph_or_a_short_paragraph_with_others(text, number):
    found = sentences("d", text, 0, len(text))
    if not found:
        return
    sentence = found[number % len(found)]
    start, end = in_context(text, sentence, 0, len(text))
    assert start <= sentence.start < sentence.end <= end
    assert start in {one.start for one in found}
    assert end in {one.end for one in found}
    assert end - start <= LONGEST_QUOTE
    first, last = text.rfind("\n\n", 0, sentence.start) + 2, text.find("\n\n", sentence.end)
    paragraph = (first if first > 1 else 0, len(text) if last < 0 else last)
    if paragraph[1] - paragraph[0] >= ALONE:
        assert paragraph[0] <= start < end <= paragraph[1]
    else:
        assert start <= paragraph[0] < paragraph[1] <= end


def test_a_quote_stays_between_its_bounds():
    text = "One came. Two came. Three came. Four came."
    sentence = sentences("d", text, 0, len(text))[2]
    start, end = in_context(text, sentence, text.index("Two"), text.index("Four"))
    assert text[start:end].strip() == "Two came. Three came."
    assert in_context(text, sentence, sentence.start, sentence.end) == (sentence.start, sentence.end)


def test_a_line_of_dialogue_is_quoted_with_the_lines_beside_it_and_without_a_heading():
    text = "Chapter I\n\n“Who came?”\n\n“Boris.”\n\n“When?” asked the old man by the window."
    sentence = next(one for one in sentences("d", text, 0, len(text)) if "Boris" in one.text)
    start, end = in_context(text, sentence, 0, len(text))
    assert text[start:end] == text.removeprefix("Chapter I\n\n")


@pytest.mark.parametrize(
    ("question", "says", "does_not"),
    [
        (
            "What is a side exit?",
            "The side exit is a small piece of code.",
            "A guard is patched when the side exit is the hot one.",
        ),
        (
            "What is a side exit?",
            "It returns by a stub, called a side exit.",
            "The monitor called the side exit to leave.",
        ),
        (
            "Who was Clerval?",
            "Clerval was the son of a merchant.",
            "William, Clerval, a friend of both, and Justine died.",
        ),
        ("What's the Demeter?", "The schooner is known as the Demeter.", "The boxes arrived in the Demeter."),
        ("What is copyleft?", "A copyleft licence is old; copyleft means the same terms.", "They fear copyleft."),
        ("What are dog-ears?", "Dog-ears (which are folds) spoil books.", "He folds dog-ears."),
    ],
)
def test_a_sentence_that_says_what_a_thing_is_has_a_bonus(question, says, does_not):
    asked = quest(question, {})
    assert asked.bonus(says) == DEFINED
    assert asked.bonus(does_not) < DEFINED


@pytest.mark.parametrize(
    "question", ["What is the name of the ship that he bought from them?", "What is in the box, and why?"]
)
def test_only_a_question_about_a_thing_itself_asks_what_it_is(question):
    assert ABOUT.fullmatch(question) is None


def test_words_are_compared_without_their_endings():
    assert stem("betrayed") == stem("betrays")
    assert stem("anna's") == stem("anna")
    assert stem("was") == "was"


def test_the_sentence_with_the_rare_words_supports_best():
    found = sentences("d", TEXT, 0, len(TEXT))
    weights = question_weights("Where did Anna live?", 10, lambda word: 1 if word == "Anna" else 5)
    assert score("Where did Anna live?", found, weights, lambda _: 0.0)[0].sentence.text.startswith("Anna, a teacher")


def test_the_memory_breaks_a_tie():
    found = sentences("d", "The dog slept here. The dog slept there.", 0, 99)
    weights = {"dog": 1.0}
    for number in (0, 1):
        best = score("dog", found, weights, lambda s, n=number: float(s is found[n]))[0]
        assert best.sentence is found[number]


def test_support_lies_between_nothing_and_all():
    found = sentences("d", TEXT, 0, len(TEXT))
    for one in score("Who betrayed Pierre in 4 May?", found, {"betray": 1, "pierr": 2}, lambda _: 1.0):
        assert 0.0 <= one.support <= 1.0


def test_an_answer_is_supported_by_a_sentence_that_holds_its_new_words():
    found = sentences("d", TEXT, 0, len(TEXT))
    assert supported("Dolokhov", "Who betrayed Pierre?", found).text.startswith("It was Dolokhov")
    assert supported("Pierre", "Who betrayed Pierre?", found) is None
    assert supported("Napoleon", "Who betrayed Pierre?", found) is None
    assert supported("", "Who?", found) is None


def test_an_answer_ends_at_its_stop_string():
    assert "".join(until_stop(iter([" ", "in Pa", "ris\nQues", "tion"]), ["\n"])) == "in Paris"
    assert "".join(until_stop(iter(["\n", "Paris"]), ["\n"])) == "Paris"


def best(question, text, frequency=lambda word: 1):
    found = sentences("d", text, 0, len(text))
    return score(question, found, question_weights(question, 50, frequency), lambda _: 0.0)[0].sentence.text


def test_irregular_forms_are_one_word():
    assert stem("kept") == stem("keeps") == stem("keeping")
    assert stem("married") == stem("marry") == stem("marriage")
    assert stem("stopped") == stem("stops")
    assert stem("pass") == stem("passed") != stem("pas")


@given(st.text(alphabet="abcdeginrsy’s", max_size=14))
def test_a_stem_is_short_and_stable_in_length(word):
    assert len(stem(word)) <= max(len(word) + 2, 6)


def test_a_search_asks_for_the_other_forms_too():
    assert {"kept", "keep"} <= set(widened_query("Who kept the inn?").split())


def test_a_question_is_no_answer():
    assert best(
        "Who stole the golden cup?", "“Who stole the golden cup?” said he. Robert stole the golden cup."
    ).startswith("Robert")


def test_a_number_is_the_answer_to_how_many():
    text = "The ship had guns of brass. The ship had twelve guns of brass."
    assert best("How many guns had the ship?", text) == "The ship had twelve guns of brass."


def test_a_pronoun_gets_its_name_from_the_sentence_before():
    text = "Robert Shallow was rich. He lived in Norwich. " + "It rained. " * 12 + "He lived in London."
    found = sentences("d", text, 0, len(text))
    weights = question_weights("In what town did Robert Shallow live?", 50, lambda word: 1)
    ranked = [one.sentence.text for one in score("Where did he live?", found, weights, lambda _: 0.0)]
    assert ranked.index("He lived in Norwich.") < ranked.index("He lived in London.")


@given(st.lists(st.sampled_from(["The dog ran home.", "A cat slept.", "The dog slept."]), min_size=1, max_size=12))
def test_overlap_is_what_the_nearest_sentence_with_each_word_gives(lines):
    text = " ".join(lines)
    found = sentences("d", text, 0, len(text))
    weights = {stem("dog"): 2.0, stem("slept"): 1.0}
    for number, overlap in enumerate(overlaps(found, weights)):
        expected = 0.0
        for word, weight in weights.items():
            away = [abs(number - other) for other, one in enumerate(found) if word in one.words]
            expected += weight * WORTH[min(away)] if away and min(away) < len(WORTH) else 0.0
        assert overlap == pytest.approx(expected / 3.0)


def test_sentences_of_two_documents_are_no_neighbours():
    one, other = sentences("a", "The dog ran.", 0, 12), sentences("b", "The cat ran.", 0, 12)
    assert overlaps([*one, *other], {"dog": 1.0}) == [1.0, 0.0]
