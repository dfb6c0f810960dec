"""Several processes: who is who, what they agree on, and the sharding of the frozen base.

Every process has its own memory and its own documents; all draw the same kind of task in the same step, so that they
call the same layers equally often and the same parameters receive a gradient everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from model.errors import TrainingError
from model.training.lora import Learner


@dataclass(frozen=True, slots=True)
class Together:
    """The processes of a run; alone, nothing is sent."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    sharded: bool = False  # the frozen base lies in parts on all processes

    @property
    def first(self) -> bool:
        """Whether this process writes what all share."""
        return self.rank == 0

    def most(self, value: int) -> int:
        """The largest value of all processes."""
        if self.count == 1:
            return value
        one = torch.tensor([value], device=self.device)
        torch.distributed.all_reduce(one, torch.distributed.ReduceOp.MAX)
        return int(one)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process. All wait for each other here."""
        return bool(self.most(int(flag)))

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their mean over the processes, in one message."""
        some = list(tensors)
        if self.count == 1 or not some:
            return
        flat = torch.cat([tensor.flatten() for tensor in some])
        torch.distributed.all_reduce(flat)
        flat /= self.count
        for tensor, part in zip(some, flat.split([tensor.numel() for tensor in some]), strict=True):
            tensor.copy_(part.view_as(tensor))


def join() -> Together:
    """The processes that `accelerate launch` (or torchrun) started; alone without a launcher.

    Raises TrainingError where accelerate is not installed but several processes were started.
    """
    with_gpu, expected = torch.cuda.is_available(), int(os.environ.get("WORLD_SIZE", "1"))
    if expected < 2:
        return Together(device=torch.device("cuda" if with_gpu else "cpu"))
    try:
        from accelerate import PartialState
    except ImportError as fault:
        raise TrainingError("several processes need accelerate", "pip install mplus[train]") from fault
    state = PartialState(cpu=not with_gpu)  # without the flag every process would believe to be alone on a CPU
    assert state.num_processes == expected, "processes that do not know of each other would overwrite each other"
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    device = torch.device(state.device.type, state.device.index if state.device.type == "cuda" else None)
    return Together(state.process_index, state.num_processes, device, sharded)


def leave(together: Together) -> None:
    """End the process group that `join` entered."""
    if together.count > 1:
        torch.distributed.destroy_process_group()


def place(learner: Learner, together: Together) -> None:
    """Put a learner on its device; with sharding, each frozen matrix becomes an FSDP unit of its own.

    Units are single matrices, because M+ calls k_proj, v_proj and norms of a layer outside of the layer's forward
    too. What learns stays whole on every process: adapters and projectors are small beside the base.
    """
    if together.sharded and together.count > 1:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(together.device.type, (together.count,))
        for module in frozen_matrices(learner):
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
    learner.to(together.device)


def frozen_matrices(learner: Learner) -> list[nn.Module]:
    """Linear layers and embeddings of the base whose weight belongs to them alone."""
    owners: dict[int, int] = {}
    found = [
        module
        for name, module in learner.named_modules()
        if isinstance(module, (nn.Linear, nn.Embedding)) and name.startswith("model.llama.") and "lora_" not in name
    ]
    for module in found:
        owners[id(module.weight)] = owners.get(id(module.weight), 0) + 1
    return [module for module in found if owners[id(module.weight)] == 1]
