"""What counts as a right answer to a fixed question."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mplus_cli.errors import UsageError
from mplus_cli.events import Answer, Source, Timing
from mplus_cli.measure_fixed import judged, questions_of

ASKED = {"question": "What was the ship?", "answers": ["Hispaniola", "the Hispaniola"], "chapter": 7}
SOURCE = Source("a" * 16, "T", "7. I Go", 1, "38", "location", 0, 1, "two tons; name, HISPANIOLA.", 0.1, 0.1, "text")
WRONG = replace(SOURCE, quote="The ship is bought.")
ELSEWHERE = replace(SOURCE, chapter="8. At the Sign")


def answer(words: str, *sources: Source) -> Answer:
    return Answer(words, "text", False, sources, "m", Timing(0, 0, 0), "")


@pytest.mark.parametrize(
    ("found", "right"),
    [
        (answer("It was the Hispaniola.", SOURCE), {"answer", "first", "first_page", "any", "any_page"}),
        (answer("The ship is bought.", WRONG, SOURCE), {"any", "any_page"}),
        (answer("The ship is bought.", ELSEWHERE), {"first", "any"}),
        (answer("Hispaniolas", WRONG), set()),
        (answer("", replace(SOURCE, chapter="I Go")), {"first", "any"}),
    ],
)
def test_an_answer_is_right_by_its_words_its_quotes_and_their_chapter(found, right):
    assert {name for name, value in judged(ASKED, found).items() if value} == right


def test_a_file_without_questions_is_refused(tmp_path):
    file = tmp_path / "none.json"
    for text in ("{}", "[", "[]"):
        file.write_text(text)
        with pytest.raises(UsageError):
            questions_of(file)
    with pytest.raises(UsageError):
        questions_of(tmp_path / "absent.json")
