"""A tiny random Llama checkpoint with a tokenizer, documents, and a plan scaled down to both."""

import json
import random
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from model.config import AdapterConfig
from model.training.lora import Learner, build, set_learning
from model.training.pretrained import prepare
from model.training.pretrained_distributed import Together
from model.training.pretrained_run import PretrainedRun
from model.training.pretrained_stages import STAGES, Base, Bucket, MemoryShape, PretrainedPlan, PretrainedStage, Text

WORDS = 60
SMALL = {
    "steps": 6, "pool_blocks": 4, "chunk_most": 12, "chunk_least": 4, "sentence_least": 4, "sentence_most": 24,
    "contexts": ((0, 3),), "save_every": 100, "warmup": 1, "learning_rate": 1e-2, "documents": (Bucket(0, 999, 1.0),),
}  # fmt: skip


def make_base(folder: Path, layers: int = 2, tied: bool = False) -> Path:
    """config.json, model.safetensors and tokenizer.json, as a published Llama has them."""
    torch.manual_seed(7)
    config = LlamaConfig(
        hidden_size=16, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, intermediate_size=32,
        vocab_size=WORDS + 4, max_position_embeddings=512, bos_token_id=1, tie_word_embeddings=tied,
    )  # fmt: skip
    llama = LlamaForCausalLM(config)
    folder.mkdir(parents=True)
    tensors = {name: tensor * 5 if "norm" not in name else tensor for name, tensor in llama.state_dict().items()}
    if tied:
        del tensors["lm_head.weight"]
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_dict() | {"architectures": ["LlamaForCausalLM"]}))
    vocabulary = {"<unk>": 0, "<s>": 1, "Repeat:": 2, **{f"w{number}": 4 + number for number in range(WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def make_text(folder: Path, count: int = 12, own_words: bool = False) -> Path:
    """Documents of 10 to 80 words, JSON Lines; with `own_words` no two of them share one."""
    rng = random.Random(3)
    folder.mkdir(parents=True)
    with (folder / "text.jsonl").open("w") as out:
        for number in range(count):
            known = range(number * WORDS // count, (number + 1) * WORDS // count) if own_words else range(WORDS)
            words = [f"w{rng.choice(known)}" for _ in range(rng.randint(10, 80))]
            out.write(json.dumps({"text": " ".join(words)}) + "\n")
    return folder


def plan_of(base: Path, dropout: float = 0.0, **changes) -> PretrainedPlan:
    """The paper's stages at the size of the tiny base."""
    stages = {name: replace(stage, **(SMALL | changes)) for name, stage in STAGES.items()}
    stages["3"] = replace(stages["3"], recall_blocks=1, merge_every=2, pool_blocks=3)
    adapters = AdapterConfig(rank=2, alpha=4, dropout=dropout)
    return PretrainedPlan(Base(str(base)), MemoryShape(4, 6), adapters, Text(), stages)


def awake(learner: Learner) -> Learner:
    """Adapters that do something: with B at zero, A has no gradient yet."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in learner.learning().items():
            if ".lora_B." in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return learner


def learner_of(plan: PretrainedPlan, stage: str) -> Learner:
    learner = awake(build(Path(plan.base.checkpoint), plan.config(plan.stages[stage]), torch.float32, 0))
    set_learning(learner)
    return learner


def run_of(plan: PretrainedPlan, stage: PretrainedStage, folders: Path, name: str = "run") -> PretrainedRun:
    return prepare(plan, stage, folders / "text", folders / "work", folders / name, Together())
