"""mplus: a reading assistant for long documents with a latent long-term memory."""

__version__ = "0.1.0"
