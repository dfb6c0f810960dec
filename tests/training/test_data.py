"""Laws of episodes, spans and masks."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.training.bank import Bank
from model.training.data import Corpus, Words, collate, read_corpus, row_indices, sentences, tokenise
from model.training.fact_words import HELD_FIRST, PLACE
from model.training.losses import best_rows, each_row_loss, picked_scores, row_scores, spread
from model.training.mixture import Mixture
from model.training.needles import (
    NeedleSettings,
    Vocabulary,
    fact,
    facts,
    needle_episode,
    plant,
    value,
    vocabulary_of,
    with_aside,
)
from model.training.questions import find_support, memory_question, prompt_question, read_questions
from model.training.repeats import continuation, random_repeat
from model.training.sayings import base_form, sayings_of
from model.training.searches import question_about, search_in
from tests.training.tiny import tiny_stage


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 12), st.data())
def test_rows_of_a_span_are_those_its_tokens_left(lengths: list[int], rows: int, data: st.DataObject) -> None:
    """Mark tokens by number, lay them out as write does, and read the marks back."""
    total = sum(lengths)
    start = data.draw(st.integers(0, total))
    end = data.draw(st.integers(start, total))
    kept, at = [], 0
    for length in lengths:
        tokens = list(range(at, at + length))[-rows:]
        kept += [-1] * (rows - len(tokens)) + tokens
        at += length
    found = [kept[row] for row in row_indices((start, end), lengths, rows)]
    assert found == [token for token in range(start, end) if token in kept]


@given(st.integers(0, 10**6), st.lists(st.integers(1, 5), max_size=4))
def test_planted_sentences_stand_where_their_spans_say(seed: int, sizes: list[int]) -> None:
    sentences_ = [[1000 + number] * size for number, size in enumerate(sizes)]
    tokens, spans = plant(random.Random(seed), list(range(40)), sentences_)
    assert len(tokens) == 40
    assert [tokens[a:b] for a, b in spans] == sentences_


def test_tokenised_text_is_the_text(words: Words, corpus: Corpus, text_folder: Path) -> None:
    import json

    first = json.loads((text_folder / "books.jsonl").read_text(encoding="utf-8").splitlines()[0])["text"]
    assert words.decode(corpus.tokens[: corpus.bounds[1]].tolist()) == first


def test_tokenising_twice_reads_the_cache(words: Words, text_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "text.u16"
    one = tokenise(text_folder, words, cache, "*.jsonl*", 10**6)
    before = cache.stat().st_mtime_ns
    two = tokenise(text_folder, words, cache, "*.jsonl*", 10**6)
    assert (one.tokens == two.tokens).all()
    assert cache.stat().st_mtime_ns == before
    assert len(read_corpus(cache).bounds) == len(one.bounds)


def test_other_files_or_limits_are_tokenised_anew(words: Words, text_folder: Path, tmp_path: Path) -> None:
    cache, other = tmp_path / "text.u16", tmp_path / "other"
    whole = len(tokenise(text_folder, words, cache, "*.jsonl*", 10**6).tokens)
    assert len(tokenise(text_folder, words, cache, "*.jsonl*", 10).tokens) < whole
    other.mkdir()
    (other / "books.jsonl").write_text('{"text": "The king hid."}\n', encoding="utf-8")
    assert words.decode(tokenise(other, words, cache, "*.jsonl*", 10**6).tokens.tolist()) == "The king hid."


def test_one_type_episode_has_one_kind_of_fact_and_different_people() -> None:
    made = facts(random.Random(3), 6, one_type=True, pairs=0.0)
    assert len({one.question for one in made}) == 6
    heads = {one.question.split()[0] for one in made}
    assert len(heads) <= 3


@given(st.randoms(use_true_random=False))
def test_another_noun_stands_behind_a_name_and_the_value_behind_it(rng: random.Random) -> None:
    nouns = ("lantern", "hope")
    for statement in ("{n} works as a {v}.", "{n} put the {o} into the {v}."):
        said = with_aside(rng, statement, nouns)
        assert said.startswith("{n}")
        assert said.endswith(statement.removeprefix("{n}"))
        assert "{w}" not in said
    assert with_aside(rng, "In {v} stood the house of {n}.", nouns) == "In {v} stood the house of {n}."


def test_some_statements_have_another_noun_and_most_have_none() -> None:
    rng = random.Random(0)
    longer = sum(len(with_aside(rng, "{n} is a {v}.", ())) > len("{n} is a {v}.") for _ in range(1000))
    assert 350 < longer < 450


def test_held_out_names_are_never_trained_on() -> None:
    rng = random.Random(0)
    for _ in range(300):
        (one,) = facts(rng, 1, one_type=True, pairs=0.2)
        assert not any(f" {name} " in f" {one.sentence} " for name in HELD_FIRST)


def test_words_of_the_books_are_names_and_nouns_and_none_is_held_out() -> None:
    class Plain:
        def decode(self, tokens: list[int]) -> str:
            return "He met old Bridget and Corvinus in the lantern, near a Milan of the walking stick; the end"

    found = vocabulary_of(Plain(), Corpus(np.zeros(4, np.uint16), [0, 4]))  # type: ignore[arg-type]
    assert found.names == ("Corvinus",)
    assert found.nouns == ("lantern",)
    rng = random.Random(0)
    values = {value(rng, "place", False, found) for _ in range(60)}
    assert "lantern" in values
    assert values - {"lantern"} <= set(PLACE)


SAID = (
    "They ran. She looked at the sea. He tapped the old lantern, and he wondered why rain; she always asks for milk. "
    "The letter had come from Anna. It has a house in Paris. Well, he took his hat."
)


def test_sayings_of_the_books_are_statements_and_questions_and_none_in_held_out_words() -> None:
    found = {
        one.statement: one.questions for one in sayings_of(SAID, ["sea", "lantern", "milk", "letter", "hat", "rain"])
    }
    assert set(found) == {
        "{n} looked at the {v}.", "{n} tapped the old {v}.", "The {v} had come from {n}.", "{n} took his {v}."
    }  # fmt: skip
    assert "What did {n} look at?" in found["{n} looked at the {v}."]
    assert "What had come from {n}?" in found["The {v} had come from {n}."]
    assert "What did {n} take?" in found["{n} took his {v}."]


@pytest.mark.parametrize(
    ("past", "base"),
    [("tapped", "tap"), ("called", "call"), ("moved", "move"), ("looked", "look"), ("took", "take"), ("was", "")],
)
def test_a_question_with_did_has_the_base_form(past: str, base: str) -> None:
    assert base_form(past) == base


def test_a_share_of_the_facts_is_told_in_sayings_and_still_holds_its_value() -> None:
    words = Vocabulary(sayings=sayings_of(SAID, ["sea", "lantern", "letter", "hat"]), said=0.5)
    rng, starts = random.Random(0), ("looked at", "tapped the", "had come from", "took his")
    made = [fact(rng, "food", words=words) for _ in range(200)]
    assert 70 < sum(any(start in one.sentence for start in starts) for one in made) < 130
    assert all(one.answer in one.sentence and "{" not in one.sentence + one.question for one in made)
    held = [fact(rng, "food", held=True, words=words) for _ in range(20)]
    assert all("always asks for" in one.sentence for one in held)


def test_look_alikes_share_their_kind_and_few_names_for_some_steps(words: Words, corpus: Corpus) -> None:
    stage = tiny_stage(mixture={"needle": 1.0}, alike=1.0, pairs=0.0)
    mixture = Mixture(stage, words, corpus, [], 8)
    first, again, later = (mixture.needles_at(step).same for step in (0, 5, 6))
    assert first == again != later
    assert first is not None
    rng = random.Random(1)
    made = facts(rng, 6, one_type=False, pairs=0.0, same=first)
    assert all(sum(name in one.question for name in first.first) for one in made)
    assert mixture.needles.same is None
    assert Mixture(replace(stage, alike=0.0), words, corpus, [], 8).needles_at(0).same is None


def test_prompt_weights_cover_exactly_the_answers(words: Words, corpus: Corpus) -> None:
    how = NeedleSettings(density=(2,), pairs=0.0)
    made = needle_episode(random.Random(1), words, corpus, 128, 200, how)
    inside = {at for one in made.asked for at in range(*one.answer)}
    assert inside
    assert all((weight == 1.0) == (at in inside) for at, weight in enumerate(made.weights))


def test_support_of_a_question_is_its_sentence_and_in_it_the_value(words: Words, corpus: Corpus) -> None:
    made = needle_episode(random.Random(4), words, corpus, 128, 200, NeedleSettings(density=(2,), cloze=0.0, pairs=0.0))
    assert len(made.asked) > 1
    for one in made.asked:
        (start, end), value = one.support
        answer = words.decode(made.prompt[slice(*one.answer)]).strip()
        assert answer in words.decode(made.tokens[start:end])
        assert words.decode(made.tokens[slice(*value)]).strip() == answer
        assert start <= value[0] < value[1] <= end


def test_single_questions_ask_what_the_whole_prompt_asks(words: Words, corpus: Corpus) -> None:
    made = needle_episode(random.Random(4), words, corpus, 128, 200, NeedleSettings(density=(2,)))
    parts = made.single()
    assert len(parts) == len(made.asked) > 1
    for part, one in zip(parts, made.asked, strict=True):
        assert part.prompt[slice(*part.asked[0].answer)] == made.prompt[slice(*one.answer)]
        assert part.prompt[: part.asked[0].question[1]] == made.prompt[slice(*one.question)]
        assert (part.tokens, part.asked[0].support) == (made.tokens, one.support)
    batch = collate([made, made], [64, 64], [], single=2)
    assert batch.owner.tolist() == [0, 0, 1, 1]


def test_a_bank_keeps_the_newest_rows() -> None:
    bank = Bank.empty(2, 5, 3)
    rows = torch.arange(8.0)[None, :, None].expand(2, -1, 3)
    bank.add(rows[:, :3])
    assert torch.equal(bank.valid, rows[:, :3])
    bank.add(rows[:, 3:])
    assert bank.filled == 5
    assert sorted(bank.valid[0, :, 0].tolist()) == [3.0, 4.0, 5.0, 6.0, 7.0]
    other = Bank.empty(2, 5, 3)
    other.restore(bank.state())
    for one in (bank, other):
        one.add(rows[:, :2])
    assert torch.equal(bank.rows, other.rows)


def test_repeats_are_found_in_what_was_written(words: Words) -> None:
    made = random_repeat(random.Random(2), words, 40, 30)
    written = " ".join(map(str, made.tokens))
    runs = [at for at, weight in enumerate(made.weights) if weight and made.weights[at - 1]]
    assert all(f"{made.prompt[at - 1]} {made.prompt[at]}" in written for at in runs)


def test_continuation_follows_the_written_text(words: Words, corpus: Corpus) -> None:
    made = continuation(random.Random(2), corpus, 40, 16, 0.3)
    whole = " ".join(map(str, corpus.tokens.tolist()))
    assert " ".join(map(str, made.tokens + made.prompt)) in whole


def test_questions_keep_their_answer_out_of_the_question() -> None:
    rng = random.Random(0)
    made = [question_about(rng, "Captain Smollett carried the wounded sailor towards Bristol.") for _ in range(60)]
    assert all(one is not None and one[1] not in one[0].split() for one in made)


def test_search_names_the_sentence_it_was_made_from(words: Words, corpus: Corpus) -> None:
    tokens = corpus.passage(random.Random(1), 120)
    made = search_in(random.Random(5), words, tokens, 60)
    assert made is not None
    asked, answer, (start, end) = made
    assert answer in words.decode(tokens[start:end])
    assert (start, end) in sentences(tokens, words.ends)
    assert words.decode(asked).startswith("Question:")


def test_support_is_the_sentence_with_the_answer() -> None:
    passage = "The fox saw a ship. The queen found the letter. The ship was lost."
    span = find_support(passage, "Who found the letter?", ("the queen",), "")
    assert passage[span[0] : span[1]].strip() == "The queen found the letter."


def test_question_episodes_hold_passage_and_answer(words: Words, corpus: Corpus, question_folder: Path) -> None:
    one = read_questions(question_folder, ("fairytaleqa",))[0]
    rng = random.Random(0)
    kept = memory_question(rng, words, corpus, one, 400, 200)
    shown = prompt_question(rng, words, corpus, one, 64, 400)
    assert kept is not None
    assert shown is not None
    assert len(kept.tokens) == 400
    for episode in (kept, shown):
        (asked,) = episode.asked
        assert words.decode(episode.prompt[slice(*asked.answer)]).strip() in one.answers


def test_collated_prompts_are_padded_without_weight(words: Words, corpus: Corpus) -> None:
    rng = random.Random(0)
    made = [continuation(rng, corpus, 16, length, 0.3) for length in (5, 9)]
    batch = collate(made, [8, 8], [])
    assert batch.prompt.shape == (2, 9)
    assert batch.weights[0, 5:].sum() == 0


@given(st.integers(0, 10**6))
def test_each_row_loss_is_small_only_when_every_positive_row_wins(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    positive = torch.rand(3, 20, generator=generator) < 0.3
    positive[:, 0] = True
    negative = ~positive
    negative[:, 1], positive[:, 1] = True, False
    won = each_row_loss(positive.float(), positive, negative)
    one_lost = positive.float()
    one_lost[0, 0] = 0.0
    assert won < 1e-3
    assert each_row_loss(one_lost, positive, negative) > won + 0.03


def test_scores_ignore_padded_query_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys = torch.randn(2, 5, 4, generator=generator), torch.randn(7, 4, generator=generator)
    mask = torch.ones(2, 5)
    mask[1, 3:] = 0
    padded = row_scores(queries, keys, mask)[1]
    assert torch.allclose(padded, row_scores(queries[1:, :3], keys, torch.ones(1, 3))[0])


def test_the_best_rows_of_a_query_score_as_they_do_among_all() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys = (torch.randn(*shape, generator=generator) for shape in ((3, 5, 8), (9000, 8)))
    mask = (torch.rand(3, 5, generator=generator) < 0.7).float()
    scores, (best, every) = row_scores(queries, keys, mask), best_rows(queries, keys, mask, 20)
    assert torch.allclose(every, scores, atol=1e-6)
    assert torch.equal(best, scores.topk(20, 1).indices.sort(1).values)
    assert torch.allclose(picked_scores(queries, keys[best], mask), scores.gather(1, best), atol=1e-6)


def test_a_row_is_lifted_by_the_best_of_its_neighbours_and_of_no_other_chunk() -> None:
    scores = torch.tensor([[[0.1, 0.2, 0.9, 0.0, 0.3], [0.8, 0.0, 0.0, 0.0, 0.1]]])
    lifted = torch.tensor([[[0.2, 0.9, 0.9, 0.9, 0.3], [0.8, 0.8, 0.0, 0.1, 0.1]]])
    assert torch.equal(spread(scores, 1), lifted)
    assert torch.equal(spread(scores, 0), scores)
    assert spread(scores[..., :0], 1).shape == (1, 2, 0), "a bank is empty in the first step"


def test_prompts_that_ask_nothing_are_no_wider_than_a_question(words: Words, corpus: Corpus) -> None:
    stage = tiny_stage(mixture={"repeat": 1.0}, room=90, full_share=1.0, long_share=0.0)
    assert Mixture(stage, words, corpus, [], 8).batch(0).prompt.shape[1] <= 48
    assert Mixture(replace(stage, full_share=0.0), words, corpus, [], 8).batch(0).prompt.shape[1] > 48
