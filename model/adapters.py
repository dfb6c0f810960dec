"""The two LoRA adapters of M+ through peft: `write` turns chunks into memory, `read` answers behind it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from model.config import AdapterConfig
from model.offline import without_kernels

WRITE, READ = "write", "read"


def add_adapters(llama: nn.Module, config: AdapterConfig) -> None:
    """Wrap the target linears of a stock Llama in place (scaling alpha / rank)."""
    with without_kernels():
        from peft import LoraConfig, inject_adapter_in_model

    for name in (WRITE, READ) if config.read else (WRITE,):
        lora = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=list(config.targets),
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # the second adapter is wanted
            inject_adapter_in_model(lora, llama, adapter_name=name)


def lora_layers(module: nn.Module) -> list[nn.Module]:
    """The wrapped linears, in module order."""
    from peft.tuners.lora import LoraLayer

    return [part for part in module.modules() if isinstance(part, LoraLayer)]


@contextmanager
def using(model: nn.Module, adapter: str) -> Iterator[None]:
    """Compute with one adapter inside the block; without adapters (or merged into one role) nothing changes.

    Which parameters require a gradient is left as it was: peft would freeze the adapter that is not active, and a
    backward pass through both adapters would lose half of its gradients.
    """
    layers = getattr(model, "lora_layers", None) or []
    before = [list(layer.active_adapters) for layer in layers]
    _activate(layers, [[adapter if adapter in layer.lora_A else WRITE] for layer in layers])
    try:
        yield
    finally:
        _activate(layers, before)


def _activate(layers: list[nn.Module], names: list[list[str]]) -> None:
    for layer, active in zip(layers, names, strict=True):
        if list(layer.active_adapters) == active:
            continue
        flags = [(parameter, parameter.requires_grad) for parameter in layer.parameters()]
        layer.set_adapter(active)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def merge(llama: nn.Module, adapter: str) -> None:
    """Fold one adapter into the weights and take the LoRA wrappers out: W + alpha / rank * B @ A. Not reversible."""
    for name, module in list(llama.named_modules()):
        if not hasattr(module, "lora_A"):
            continue
        module.merge(adapter_names=[adapter if adapter in module.lora_A else WRITE])
        parent = llama.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], module.get_base_layer())
