"""Methods by name."""

from __future__ import annotations

from model.evaluation.methods.latent import Latent, NoContext, PoolOnly
from model.evaluation.methods.method import Method

METHODS: dict[str, type[Method]] = {one.name: one for one in (Latent, PoolOnly, NoContext)}
