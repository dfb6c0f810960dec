"""Methods by name."""

from __future__ import annotations

from model.evaluation.methods.ablations import Drawn, Noise, Padding, Shuffled, Zeros
from model.evaluation.methods.attention_recall import MemoryAttention
from model.evaluation.methods.compressed import H2O, SnapKV
from model.evaluation.methods.context import FullContext, TruncateFirst, TruncateLast, TruncateMiddle
from model.evaluation.methods.knn import Nearest
from model.evaluation.methods.latent import Latent, NoContext, PoolOnly
from model.evaluation.methods.method import Method
from model.evaluation.methods.raw_kv import RawKV
from model.evaluation.methods.recurrent import Recurrent
from model.evaluation.methods.retrieval_augmented import RagBM25, RagDense

METHODS: dict[str, type[Method]] = {
    one.name: one
    for one in (
        *(Latent, PoolOnly, NoContext),
        *(MemoryAttention, Nearest, RawKV, Recurrent),
        *(FullContext, SnapKV, H2O, TruncateFirst, TruncateLast, TruncateMiddle, RagBM25, RagDense),
        *(Zeros, Noise, Padding, Drawn, Shuffled),
    )
}
