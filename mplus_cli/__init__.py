"""mplus: a reading assistant for long documents with a latent long-term memory."""

import model as model  # says how torch's threads wait, before anything loads torch

__version__ = "0.1.0"
