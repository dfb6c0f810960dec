"""The port against recordings of the reference implementation."""

import os
from pathlib import Path

import pytest
import torch

from model.parity import PATHS, TOLERANCES, Golden, Replay, beyond, main, replay_variant

GOLDEN = Path(os.environ.get("MPLUS_GOLDEN", Path(__file__).parents[1] / "golden"))
VARIANTS = Golden(GOLDEN).variants()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_the_reference_is_reproduced(variant, path):
    worst = replay_variant(Golden(GOLDEN), variant, path)
    assert {"rows", "logits", "order", "tokens", "cache"} <= set(worst), "something was not compared"
    assert not list(beyond({variant: worst}, TOLERANCES))


def test_a_difference_beyond_the_tolerance_fails_the_command(capsys):
    assert main([str(GOLDEN), "--tolerance", "1e-12"]) == 1
    assert "differ by" in capsys.readouterr().err


def test_a_folder_without_recordings_is_a_usage_error(tmp_path):
    assert main([str(tmp_path)]) == 2


@pytest.mark.parametrize("ours", [torch.tensor([float("nan"), 1.0]), torch.zeros(3)])
def test_not_a_number_and_another_shape_count_as_infinitely_far(ours):
    replay = Replay.__new__(Replay)
    replay.worst = {}
    replay.note("rows", ours, torch.tensor([1.0, 1.0]))
    assert replay.worst["rows"] == float("inf")
