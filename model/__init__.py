"""M+ (arXiv 2502.00592): a Llama with a latent long-term memory. Tensors only; no people, no terminal."""
