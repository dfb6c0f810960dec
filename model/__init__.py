"""M+ (arXiv 2502.00592): a Llama with a latent long-term memory. Tensors only; no people, no terminal."""

import os

if "OMP_WAIT_POLICY" not in os.environ:
    # Torch's threads wait for each other in a loop, by default for some ten milliseconds after every operation: beside
    # a program that holds a core, a book took a hundred times as long. It is read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
