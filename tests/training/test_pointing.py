"""Laws of the loss that tells attention where a value is."""

from __future__ import annotations

import random

import torch

from model.mplus import MPlus, rotate
from model.training.data import Batch, Corpus, Words, collate
from model.training.needles import NeedleSettings, needle_episode
from model.training.pointing import Pointers, pointers_of
from tests.training.tiny import SHAPE


def batch_of(words: Words, corpus: Corpus, rows: int, chunks: int) -> Batch:
    how = NeedleSettings(density=(2,), pairs=0.0, cloze=0.0)
    made = [needle_episode(random.Random(seed), words, corpus, rows * chunks, 200, how) for seed in range(4)]
    return collate(made, [rows] * chunks, [], single=2)


def test_pointers_name_the_rows_that_hold_what_is_predicted(words: Words, corpus: Corpus) -> None:
    batch = batch_of(words, corpus, 64, 2)
    pointers = pointers_of(batch, 64)
    assert len(pointers.row)
    written = torch.cat(batch.chunks, 1).flatten()
    following = batch.prompt[pointers.prompt, pointers.position + 1]
    assert torch.equal(written[pointers.row], following)


def test_the_loss_falls_as_one_head_looks_at_the_right_row() -> None:
    torch.manual_seed(0)
    model = MPlus(SHAPE.config())
    stored, width = 12, model.config.llama.hidden_size
    hidden, rows = torch.randn(2, 5, width), torch.randn(2, stored, width)
    index = torch.arange(2 * stored).view(2, stored)
    row = torch.tensor([3, stored + 7])

    def loss(strength: float) -> float:
        pointers = Pointers(torch.tensor([0, 1]), torch.tensor([4, 4]), row)
        keys = model.project_layer(1, rows).keys.detach()
        for prompt in range(2):
            normed = model.normed(1, hidden[prompt, 4])
            query = model.layer(1).self_attn.q_proj(normed).view(-1, model.config.head_dim)[0]
            place = int(row[prompt]) - prompt * stored
            cos, sin = model.rotary(torch.arange(1 + stored + 5), hidden)
            turned = rotate(query[None, None, None], cos[:, -1:], sin[:, -1:])
            back = rotate(turned, cos[:, 1 + place : 2 + place], -sin[:, 1 + place : 2 + place])[0, 0, 0]
            keys[prompt, 0, place] += strength * back.detach() / back.norm().detach() ** 2
        pointers.watch(model, 1, hidden, keys, index)
        found = pointers.loss()
        assert found is not None
        return found.item()

    losses = [loss(strength) for strength in (0.0, 10.0, 100.0)]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.05


def test_rows_that_are_not_there_cost_nothing(words: Words, corpus: Corpus) -> None:
    torch.manual_seed(0)
    model = MPlus(SHAPE.config())
    batch = batch_of(words, corpus, 64, 1)
    pointers = pointers_of(batch, 64)
    hidden = torch.randn(*batch.prompt.shape, model.config.llama.hidden_size)
    elsewhere = torch.full((len(batch.prompts), 3), -1)
    keys = model.project_layer(1, torch.randn(len(batch.prompts), 3, model.config.llama.hidden_size)).keys
    pointers.watch(model, 1, hidden, keys, elsewhere)
    assert pointers.loss() is None
