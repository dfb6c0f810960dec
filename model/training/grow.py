"""Let a trained model go on learning with more room: wider heads, more of them, a wider MLP. Its rows stay as large.

    python -m model.training.grow RUN OUT --heads 8 --feed-forward 1024

Key-value heads become one as wide as all of them: every query head may then compare all that a row's key holds, where
it saw a part. What was learnt stays, but for slower rotation of the pairs of later heads; what is new begins without
effect (Net2Net, arXiv 1511.05641).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from model.checkpoint import load, save
from model.config import MPlusConfig
from model.errors import ModelError, TrainingError
from model.mplus import MPlus
from model.training.saves import STATE, state_folder


def grown_config(config: MPlusConfig, heads: int, feed_forward: int) -> MPlusConfig:
    """The configuration with one key-value head, more query heads and a wider MLP."""
    llama = type(config.llama)(**config.llama.to_dict())
    llama.head_dim = config.key_value_dim
    llama.num_key_value_heads, llama.num_attention_heads, llama.intermediate_size = 1, heads, feed_forward
    llama._attn_implementation = "sdpa"
    return replace(config, llama=llama)


def places(config: MPlusConfig, head: int) -> Tensor:
    """Where the values of a key-value head (hd,) go in the head that holds all of them.

    Of H heads, pair p becomes pair p * H + head, which for the first head turns as fast as before.
    """
    heads, half = config.llama.num_key_value_heads, config.head_dim // 2
    pairs = torch.arange(half) * heads + head
    return torch.cat([pairs, pairs + half * heads])


@torch.no_grad()
def grow(model: MPlus, heads: int, feed_forward: int, seed: int = 0) -> MPlus:
    """A model that computes nearly the same, with room to learn. Raises TrainingError for sizes below today's."""
    old = model.config
    if heads < old.llama.num_attention_heads or feed_forward < old.llama.intermediate_size:
        raise TrainingError("a model can only grow", "name at least as many heads and as wide an MLP as it has")
    new, generator = MPlus(grown_config(old, heads, feed_forward)), torch.Generator().manual_seed(seed)
    mine = model.state_dict()
    for name, tensor in new.state_dict().items():
        if tensor.shape == mine[name].shape:
            tensor.copy_(mine[name])
    for layer in range(old.layers):
        grow_attention(old, model.layer(layer).self_attn, new.layer(layer).self_attn, generator)
        grow_mlp(model.layer(layer).mlp, new.layer(layer).mlp, generator)
    return new


def grow_attention(config: MPlusConfig, old: nn.Module, new: nn.Module, generator: torch.Generator) -> None:
    """Put the heads of a layer into the new ones; further query heads are random and write nothing."""
    size, wide, groups = config.head_dim, config.key_value_dim, config.llama.num_key_value_heads
    new.q_proj.weight.normal_(0, float(old.q_proj.weight.std()), generator=generator)
    new.o_proj.weight.zero_()
    for group in range(groups):
        mine = slice(group * size, (group + 1) * size)
        new.k_proj.weight[places(config, group)] = old.k_proj.weight[mine]
        new.v_proj.weight[mine] = old.v_proj.weight[mine]
    for head in range(config.llama.num_attention_heads):
        group = head * groups // config.llama.num_attention_heads
        mine, start = slice(head * size, (head + 1) * size), head * wide
        new.q_proj.weight[start : start + wide] = 0
        new.q_proj.weight[start + places(config, group)] = old.q_proj.weight[mine] * groups**0.5  # the scale of scores
        new.o_proj.weight[:, start + group * size : start + (group + 1) * size] = old.o_proj.weight[:, mine]


def grow_mlp(old: nn.Module, new: nn.Module, generator: torch.Generator) -> None:
    """Keep the channels there are; further ones are random and write nothing."""
    count = old.gate_proj.weight.shape[0]
    for name in ("gate_proj", "up_proj"):
        before, after = getattr(old, name).weight, getattr(new, name).weight
        after.normal_(0, float(before.std()), generator=generator)
        after[:count] = before
    new.down_proj.weight.zero_()
    new.down_proj.weight[:, :count] = old.down_proj.weight


def grow_run(run: Path, out: Path, heads: int, feed_forward: int) -> None:
    """Write `out`, a run folder from whose weights a stage of the larger shape can start.

    Raises TrainingError where `run` holds no save.
    """
    state = state_folder(run)
    if state is None:
        raise TrainingError(f"{run} holds no saved run", "name the folder that `mplus train` wrote to")
    model = grow(load(state, device="cpu", dtype="float32").model, heads, feed_forward)
    save(model, out / STATE, torch.float32)
    shutil.copyfile(run / "tokenizer.json", out / "tokenizer.json")
    (out / STATE / "step.json").write_text(json.dumps({"step": 0}), encoding="utf-8")


def main(words: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--heads", type=int, required=True, help="query heads, each as wide as all keys of a row")
    parser.add_argument("--feed-forward", type=int, required=True, help="width of the MLP")
    options = parser.parse_args(words)
    try:
        grow_run(options.run, options.out, options.heads, options.feed_forward)
    except ModelError as error:
        print(f"{error.message} {error.remedy}".strip(), file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
