"""Sentences and their support: laws and examples."""

from hypothesis import given
from hypothesis import strategies as st

from mplus_cli.assistant.ask import until_stop
from mplus_cli.assistant.cues import question_weights
from mplus_cli.assistant.passages import score, sentences, supported
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


@given(st.text(min_size=1, max_size=4000))
def test_no_sentence_is_endless(text):
    assert all(len(sentence.text) <= 600 for sentence in sentences("d", text, 0, len(text)))


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
