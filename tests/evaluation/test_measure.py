"""Laws of what the measurement of passages compares: SQuAD's normal form, on books with their typographic marks."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from model.evaluation.metrics import best_f1, normalised
from mplus_cli.measure import lines_of, normal


@given(st.text(st.sampled_from("abAthe .,;'-_\n“”é9")))
def test_the_normal_form_is_squads_where_no_marks_are_typographic(text: str) -> None:
    assert normal(normal(text)) == normal(text)
    plain = "".join(letter for letter in text if letter not in "-_\n“”")
    assert normal(plain) == f" {normalised(plain)} "


def test_dashes_part_words_and_quotes_are_no_part_of_them() -> None:
    assert normal("“The fox—a thief--ran.”") == " fox thief ran "
    assert best_f1(normal("‘The fox’"), (" fox ",)) == 1.0


def test_sets_are_read_plain_and_compressed(tmp_path: Path) -> None:
    line = json.dumps({"question": "Who?"})
    (tmp_path / "one.jsonl").write_text(line)
    with lzma.open(tmp_path / "other.jsonl.xz", "wt") as file:
        file.write(line)
    assert lines_of(tmp_path, "one") == lines_of(tmp_path, "other") == [{"question": "Who?"}]
    assert lines_of(tmp_path, "none") == []
