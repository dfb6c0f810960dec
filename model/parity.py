"""Replay recordings of the reference implementation: `python -m model.parity DIR [--tolerance 1e-4]`.

DIR holds golden.json, golden.safetensors and the checkpoints that its variants name. Every chunk is written with the
recorded draw, and every prompt read, on three paths: `hidden` keeps hidden rows and projects them at each question,
`read-form` stores projected rows, both on stock layers with switchable adapters; `fused` is what the product runs:
adapters merged, layers fused, rows in read form. Prints the largest difference of every kind and one JSON line; exit
status 1 beyond the tolerances.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from model.adapters import WRITE, using
from model.checkpoint import Checkpoint, load
from model.generate import Memory, Reader, RetrievalTrace, Sampling, continue_from, decode
from model.memory import ReadRows, RowTable, project
from model.mplus import KeysValues, round_rotary_frequencies
from model.released import LayerState, ReleasedMemory

PATHS = ("hidden", "read-form", "fused")
TOLERANCES = {"logits": 1e-4, "rows": 1e-4, "scores": 1e-4, "cache": 1e-4, "order": 0.0, "tokens": 0.0, "pool": 1e-4}


@dataclass(slots=True)
class Replay:
    """One variant being replayed: the model, all hidden rows so far (L, M, d), and the published bookkeeping."""

    name: str
    path: str
    writer: Checkpoint
    reader: Checkpoint
    golden: Golden
    memory: ReleasedMemory
    hidden: Tensor
    rows: list[ReadRows]
    newest: Tensor
    recorded_order: bool
    worst: dict[str, float]

    def note(self, kind: str, ours: Tensor, theirs: Tensor) -> None:
        """Remember the largest difference of a kind; another shape counts as infinite."""
        same = ours.shape == theirs.shape and bool(ours.isfinite().all())
        difference = (ours.double() - theirs.double()).abs().max().item() if same and ours.numel() else 0.0
        self.worst[kind] = max(self.worst.get(kind, 0.0), difference if same else float("inf"))


class Golden:
    """Recorded tensors of one folder by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.description = json.loads((folder / "golden.json").read_text("utf-8"))
        self._file = safe_open(folder / "golden.safetensors", "pt")
        self.names = set(self._file.keys())

    def __getitem__(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    def events(self, variant: str) -> list[str]:
        """Events of a variant in the order in which they were recorded."""
        listed = [name.split("/")[1] for name in self.description["events"] if name.split("/")[0] == variant]
        named = {name.split("/")[1] for name in self.names if name.split("/")[0] == variant}
        return listed + sorted(named - set(listed))

    def variants(self) -> list[str]:
        """Names of the variants."""
        return list(self.description["variants"])

    def checkpoint(self, variant: str) -> Path:
        """The checkpoint that a variant's description names, itself or by "as <variant>"."""
        text = self.description["variants"][variant]
        if named := re.search(r"\bmodel_\w+", text):
            return self.folder / named.group()
        if other := re.search(r"\bas (\w+)", text):
            return self.checkpoint(other.group(1))
        return self.folder / "model_main"

    def rounds_rotary(self, variant: str) -> bool:
        """Whether the variant rounds rotary frequencies to bf16."""
        return "bf16" in variant or "bfloat16" in self.description["variants"][variant]

    def unstable(self, variant: str) -> bool:
        """Whether ties in age were broken by numpy's unstable sort, so that only the recorded order can be replayed."""
        text = self.description["variants"][variant]
        return "platform" in text or ("default argsort" in text and "stable'" not in text)


class ReplayReader(Reader):
    """A reader that compares what it recalls with the recording."""

    def __init__(self, replay: Replay, event: str) -> None:
        self.replay, self.event = replay, event
        super().__init__(replay.reader.model, Memory(RowTable(replay.rows), replay.memory.membership()))

    def _stored(self, layer: int, rows: Tensor) -> KeysValues:
        if self.replay.path != "hidden":
            return super()._stored(layer, rows)
        with using(self.model, "read"):
            return self.model.project_layer(layer, self.replay.hidden[layer, rows][None])

    def _recall(self, layer: int, hidden: Tensor, trace: RetrievalTrace) -> Tensor:
        ours = super()._recall(layer, hidden, trace)
        golden, name = self.replay.golden, f"{self.replay.name}/{self.event}"
        self.replay.note("hidden", hidden, golden[f"{name}/hidden.{layer}"])
        membership = self.memory.membership
        assert membership.candidates is not None
        candidates = membership.candidates[layer]
        if f"{name}/scores.{layer}" in golden.names and not membership.cyclic[layer]:
            theirs = golden[f"{name}/scores.{layer}"]
            self.replay.note("scores", self._scores(layer, hidden)[0][candidates], theirs)
        if f"{name}/retrieved_order.{layer}" not in golden.names:
            return ours
        recorded = candidates[golden[f"{name}/retrieved_order.{layer}"]]
        if self.replay.recorded_order:
            self.replay.note("order", ours.sort().values, recorded.sort().values)
            return recorded
        self.replay.note("order", ours, recorded)
        return ours


def replay_variant(golden: Golden, variant: str, path: str) -> dict[str, float]:
    """Replay one variant on one of the PATHS; the largest difference of every kind."""
    replay = _start(golden, variant, path)
    for event in golden.events(variant):
        if event.startswith("inj"):
            _write(replay, event)
        elif event.startswith("q_"):
            _ask(replay, event)
    return replay.worst


def _start(golden: Golden, variant: str, path: str) -> Replay:
    roles = ("write", "read") if path == "fused" else (None,)
    loaded = [load(golden.checkpoint(variant), role, device="cpu", dtype="float32") for role in roles]
    if golden.rounds_rotary(variant):
        for one in loaded:
            round_rotary_frequencies(one.model.llama)
    writer, reader = loaded[0], loaded[-1]
    background, rows = reader.background, reader.background_rows()
    assert background is not None, "the reference always has a pool"
    assert rows is not None
    memory = ReleasedMemory(
        reader.model.config,
        background.pool.shape[1],
        background.long_term.shape[1],
        background.ages.numpy(),
        background.frequencies.numpy(),
    )
    hidden = torch.cat([background.pool, background.long_term], 1)
    newest = writer.first_rows()
    return Replay(variant, path, writer, reader, golden, memory, hidden, [rows], newest, golden.unstable(variant), {})


@torch.no_grad()
def _write(replay: Replay, event: str) -> None:
    golden, name, model = replay.golden, f"{replay.name}/{event}", replay.writer.model
    with using(model, WRITE):
        new, _ = model.write(golden[f"{name}/chunk_ids"], replay.newest[:, None])
    new = new[:, 0]
    replay.note("rows", new[None], golden[f"{name}/delta"])
    with using(model, "read"):
        replay.rows.append(project(model, new))
    replay.hidden = torch.cat([replay.hidden, new], 1)
    replay.memory.write(_dropped(golden, name, model.config.memory_rows).numpy())
    replay.newest = new
    for index, state in enumerate(replay.memory.layers):
        for kind, recorded, ours in _places(replay, index, state):
            if f"{name}/{recorded}" in golden.names:
                theirs = golden[f"{name}/{recorded}"]
                replay.note(kind, ours, theirs[index] if recorded == "memory" else theirs)


def _dropped(golden: Golden, name: str, rows: int) -> Tensor:
    """The recorded draw of one write: dropped places per layer, ascending (L, K)."""
    if f"{name}/dropped_idx" in golden.names:
        return golden[f"{name}/dropped_idx"]
    return golden[f"{name}/randperm"][:, -rows:].sort(1).values


def _places(replay: Replay, index: int, state: LayerState) -> Iterator[tuple[str, str, Tensor]]:
    """What stands where in one layer, beside the names of the recorded tensors."""
    yield "pool", "memory", replay.hidden[index, torch.from_numpy(state.pool)]
    yield "pool", f"ltm.{index}", replay.hidden[index, torch.from_numpy(state.merged)]
    yield "order", f"ltm_ages.{index}", torch.from_numpy(state.ages)


@torch.no_grad()
def _ask(replay: Replay, event: str) -> None:
    golden, name, model = replay.golden, f"{replay.name}/{event}", replay.reader.model
    reader = ReplayReader(replay, event)
    hidden, cache, _ = reader.prefill(golden[f"{name}/prompt_ids"])
    replay.note("logits", model.logits(hidden), golden[f"{name}/logits"])
    for index, layer in enumerate(cache.layers):
        for ours, kind in ((layer.keys, "kv_k"), (layer.values, "kv_v")):
            if f"{name}/{kind}.{index}" in golden.names:
                replay.note("cache", ours, golden[f"{name}/{kind}.{index}"])
    if f"{name}/generated" not in golden.names:
        return
    wanted, length = golden[f"{name}/generated"], cache.layers[0].length
    tokens = [step.token for step in continue_from(model, hidden[:, -1:], cache, Sampling(wanted.shape[1]))]
    replay.note("tokens", torch.tensor([tokens]), wanted)
    if f"{name}/gen_logits" in golden.names:
        for layer in cache.layers:
            layer.crop_to(length)
        steps = torch.cat([hidden[:, -1:], decode(model, wanted[:, :-1], cache)], 1)
        replay.note("logits", model.logits(steps), golden[f"{name}/gen_logits"])


def replay_folder(folder: Path) -> dict[str, dict[str, float]]:
    """Replay every variant of a folder on every path: {"variant path": {kind: largest difference}}."""
    golden = Golden(folder)
    return {f"{name} {path}": replay_variant(golden, name, path) for name in golden.variants() for path in PATHS}


def beyond(results: dict[str, dict[str, float]], tolerances: dict[str, float]) -> Iterator[str]:
    """Sentences about differences beyond the tolerances; not-a-number counts as beyond."""
    for variant, worst in results.items():
        for kind, difference in worst.items():
            if not difference <= tolerances.get(kind, 1e-4):
                yield f"{variant}: {kind} differ by {difference:.2e}"


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m model.parity", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-4, help="for logits, rows, scores and cached rows")
    options = parser.parse_args(arguments)
    if not (options.folder / "golden.json").is_file():
        remedy = "Name a folder of recorded tensors: golden.json, golden.safetensors and their checkpoints."
        print(f"error: {options.folder} holds no golden.json\n  {remedy}", file=sys.stderr)
        return 2
    results = replay_folder(options.folder)
    tolerances = {kind: limit and options.tolerance for kind, limit in TOLERANCES.items()}
    kinds = sorted({kind for worst in results.values() for kind in worst})
    print(f"{'variant and path':24}" + "".join(f"{kind:>11}" for kind in kinds))
    for variant, worst in results.items():
        print(f"{variant:24}" + "".join(f"{worst.get(kind, float('nan')):11.1e}" for kind in kinds))
    failures = list(beyond(results, tolerances))
    for failure in failures:
        print(failure, file=sys.stderr)
    print(json.dumps({"ok": not failures, "tolerances": tolerances, "differences": results}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
