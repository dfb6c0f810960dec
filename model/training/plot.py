"""The log of a run as a picture: losses by kind, the retriever, exact match on the way.

    python -m model.training.plot RUN [RUN ...] --out losses.png

Needs matplotlib (the extra `plot`). Runs are drawn one behind the other.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from model.errors import TrainingError

Points = list[tuple[int, float]]
PANELS = (
    ("answers, language (nats a token)", ("needle", "memory question", "cloze", "repeat", "language")),
    ("retriever and attention (nats)", ("search", "pointing", "retriever")),
    ("rows found, exact match (share)", ("found", "exact")),
)


def read_logs(runs: Sequence[Path]) -> list[dict[str, float]]:
    """The lines of the logs, steps counted through. Raises TrainingError where a folder has no log."""
    lines: list[dict[str, float]] = []
    for run in runs:
        file = run / "log.jsonl"
        if not file.is_file():
            raise TrainingError(f"{run} has no log.jsonl", "name the folder of a run")
        before = int(lines[-1]["step"]) if lines else 0
        steps = {line["step"]: line for line in map(json.loads, file.read_text("utf-8").splitlines())}
        # of a step that was done again after a fault the last
        lines += [steps[number] | {"step": number + before} for number in sorted(steps)]
    return lines


def curve(lines: Sequence[dict[str, float]], key: str, window: int) -> Points:
    """Means of `window` steps of one quantity: (last step, mean); single values where it is rarer than that."""
    found = [(int(line["step"]), line[key]) for line in lines if key in line]
    if len(found) * window < len(lines):
        return found
    parts = [found[start : start + window] for start in range(0, len(found), window)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def belongs(key: str, wanted: Sequence[str]) -> bool:
    """Whether a panel shows a quantity: by its name, that behind its task ("cat: language"), or as an "exact ..."."""
    return key.rpartition(": ")[2] in wanted or (key.startswith("exact") and "exact" in wanted)


def draw(lines: Sequence[dict[str, float]], out: Path, window: int = 50) -> None:
    """Write the picture; its format is that of the file's name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    known = sorted({key for line in lines for key in line})
    figure, places = pyplot.subplots(1, len(PANELS), figsize=(15, 4.2), layout="constrained")
    for place, (title, wanted) in zip(places, PANELS, strict=True):
        for key in (one for one in known if belongs(one, wanted)):
            points = curve(lines, key, window)
            place.plot(*zip(*points, strict=True), label=key, linewidth=1.5, marker="." if len(points) < 20 else None)
        place.set(title=title, xlabel="step")
        place.grid(alpha=0.3)
        if place.lines:
            place.legend(fontsize=8)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def main(words: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("losses.png"))
    parser.add_argument("--window", type=int, default=50, help="steps of a mean")
    options = parser.parse_args(words)
    try:
        draw(read_logs(options.runs), options.out, options.window)
    except TrainingError as error:
        parser.exit(2, f"{error.message} {error.remedy}\n")


if __name__ == "__main__":
    main()
