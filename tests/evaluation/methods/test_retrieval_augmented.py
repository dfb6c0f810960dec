"""Laws of retrieval-augmented generation: which passages are found, how long they are, and where they stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from model.errors import ModelError
from model.evaluation.common import Subject
from model.evaluation.methods.context import FullContext
from model.evaluation.methods.method import Budget, DoesNotFit
from model.evaluation.methods.retrieval_augmented import Encoder, RagBM25, RagDense, Retrieval
from model.generate import Reader
from tests.evaluation.methods.text_fakes import QUESTION, saved
from tests.training.tiny import story

BOTH = [RagBM25, RagDense]
RARE = "The zebra jumped over the walnut."
LONG = f"{story(1, 30)} {RARE} {story(2, 30)}"


@pytest.fixture(scope="module")
def strong(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A model that every token moves."""
    return saved(tmp_path_factory.mktemp("strong"), bos_row=True)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as sentence-transformers has it, of a tiny BERT with random weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", *sorted(set(LONG.replace(".", " .").split()))]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16, max_position_embeddings=64)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "path": ""}]), "utf-8")
    return folder


def having_read(method: Retrieval, *texts: str) -> Retrieval:
    for text in texts:
        method.read(text)
    return method


def text_of(method: Retrieval, question: str) -> str:
    """What stands in front of a question."""
    return method.subject.tokenizer.decode(method.chosen(method.subject.question(question), 4))


def test_bm25_finds_the_passage_that_shares_a_rare_word(strong: Subject) -> None:
    method = having_read(RagBM25(strong, Budget(passages=1, passage_tokens=24)), LONG)
    assert "zebra" in text_of(method, "What did the zebra do?")
    assert "zebra" not in text_of(method, QUESTION)


def test_passages_stand_in_reading_order_on_lines_of_their_own(strong: Subject) -> None:
    texts = ["The walnut fell far away.", story(3, 6), "The zebra ran.", "A zebra and a zebra and a walnut."]
    found = text_of(having_read(RagBM25(strong, Budget(passages=3, passage_tokens=40)), *texts), "walnut or zebra?")
    assert found == f"{texts[0]}\n{texts[2]}\n{texts[3]}\n"


def test_passages_that_follow_each_other_are_joined_as_they_were(strong: Subject) -> None:
    everything = having_read(RagBM25(strong, Budget(passages=1000, passage_tokens=7)), story(1, 6), story(2, 3))
    whole, prompt = FullContext(strong), strong.question(QUESTION)
    for number, count in ((1, 6), (2, 3)):
        whole.read(story(number, count))
    assert everything.chosen(prompt, 4) == whole.chosen(prompt, 4)
    assert everything.answer(prompt, 8) == whole.answer(prompt, 8)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("budget", [Budget(), Budget(passages=2), Budget(rows=100), Budget(passages=9)])
def test_all_passages_the_prompt_and_the_answer_fit_the_window(
    strong: Subject, kind: type[Retrieval], budget: Budget
) -> None:
    method, prompt, room = having_read(kind(strong, budget), LONG), strong.question(QUESTION), 5
    chosen = method.chosen(prompt, room)
    window = budget.rows or strong.config.window
    assert len(chosen) + len(prompt) + room <= window
    length = method.passage_tokens(prompt, room)
    assert length > 0
    assert (length + 1) * budget.passages > window - len(prompt) - room - 17 * budget.passages  # and fill it
    held, (passages, _) = strong.tokenizer.encode(LONG), method.indexed(length)
    assert [token for one in passages for token in one.ids] == held
    assert {len(one.ids) for one in passages[:-1]} == {length}


def test_passages_of_a_wanted_length_are_not_shortened(strong: Subject) -> None:
    prompt = strong.question(QUESTION)
    paper = having_read(RagBM25(strong, Budget(passages=4, passage_tokens=50)), LONG)
    assert len(paper.chosen(prompt, 4)) >= 200 > strong.config.window
    with pytest.raises(DoesNotFit, match="positions"):
        having_read(RagBM25(strong, Budget(passages=4, passage_tokens=4096)), LONG).chosen(prompt, 4)


def test_the_words_of_the_question_are_searched_not_the_prompt_around_them(strong: Subject) -> None:
    method = having_read(RagBM25(strong, Budget(passages=1, passage_tokens=24)), LONG)
    prompt, asked = strong.tokenizer.encode("walnut zebra walnut zebra"), []
    method.scores = lambda index, question: asked.append(question) or [0.0] * index[0]  # type: ignore[method-assign]
    method.respond("Who was it?", prompt, 2)
    method.answer(prompt, 2)
    method.score(prompt, [[5, 6]])
    assert asked == ["Who was it?", "walnut zebra walnut zebra", "walnut zebra walnut zebra"]


def test_dense_vectors_are_means_of_the_last_hidden_states(strong: Subject) -> None:
    ids = strong.tokenizer.encode(RARE)
    hidden = Reader(strong.model, strong.memory([])).prefill(strong.ids(ids)).hidden
    wanted = strong.model.llama.model.norm(hidden)[0].mean(0)
    torch.testing.assert_close(RagDense(strong).vector(ids), wanted / wanted.norm())


def test_dense_finds_the_passage_that_is_the_question(strong: Subject) -> None:
    texts = [story(1, 3), RARE, story(2, 3)]
    method = having_read(RagDense(strong, Budget(passages=1, passage_tokens=100)), *texts)
    method.words = RARE
    assert text_of(method, RARE) == f"{RARE}\n"
    method.words = texts[2]
    assert text_of(method, texts[2]) == f"{texts[2]}\n"


def test_a_named_encoder_ranks_by_its_mean_vectors(strong: Subject, encoder: Path) -> None:
    texts = [story(1, 3), RARE, story(2, 3)]
    method = having_read(RagDense(strong, Budget(passages=1, passage_tokens=100), encoder), *texts)
    method.words = RARE
    assert text_of(method, RARE) == f"{RARE}\n"
    assert method.bytes_held()["device"] == 3 * 16 * 4


def test_the_encoder_pools_words_alone_not_padding(encoder: Path) -> None:
    vectors = Encoder(encoder, torch.device("cpu")).vectors
    apart = torch.cat([vectors([text]) for text in (RARE, story(1, 3))])
    torch.testing.assert_close(vectors([RARE, story(1, 3)]), apart)
    torch.testing.assert_close(apart.norm(dim=1), torch.ones(2))
    assert len(vectors([story(1, 200)] * 40)) == 40  # longer than its window, more than a batch


def test_a_folder_without_an_encoder_is_refused(strong: Subject, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no encoder"):
        RagDense(strong, encoder=tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', "utf-8")
    with pytest.raises(ModelError, match="cannot be loaded"):
        RagDense(strong, encoder=tmp_path)


@pytest.mark.parametrize("kind", BOTH)
def test_asking_changes_nothing(strong: Subject, kind: type[Retrieval]) -> None:
    method, prompt = having_read(kind(strong), LONG), strong.question(QUESTION)
    first, scores = method.respond(QUESTION, prompt, 6), method.score(prompt, [[5, 6], [7]])
    method.respond("What did the zebra do?", strong.question("What did the zebra do?"), 9)
    assert method.respond(QUESTION, prompt, 6) == first
    assert method.score(prompt, [[5, 6], [7]]) == scores


@pytest.mark.parametrize("kind", BOTH)
def test_what_is_read_later_is_found_too(strong: Subject, kind: type[Retrieval]) -> None:
    method = having_read(kind(strong, Budget(passages=1, passage_tokens=100)), story(1, 3), story(2, 3))
    method.words = RARE
    assert "zebra" not in text_of(method, RARE)
    method.read(RARE)
    assert text_of(method, RARE) == f"{RARE}\n"
    method.reset()
    assert text_of(method, RARE) == ""


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("texts", [(), ("",), ("...", "---")])
def test_nothing_read_and_texts_without_words_can_be_asked(
    strong: Subject, kind: type[Retrieval], texts: tuple[str, ...]
) -> None:
    method = having_read(kind(strong), *texts)
    assert isinstance(method.respond(QUESTION, strong.question(QUESTION), 3), str)
    assert isinstance(method.respond("", strong.question(""), 3), str)


def test_no_space_for_passages_is_no_text(strong: Subject) -> None:
    prompt = strong.question(QUESTION)
    assert having_read(RagBM25(strong, Budget(rows=len(prompt))), LONG).chosen(prompt, 4) == []
