"""Draw a terminal picture of the demo: `python docs/picture.py .venv/bin/mplus docs/demo.svg`."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 104


def main(mplus: str, picture: str) -> None:
    """Run docs/demo.sh and keep what it printed as an SVG without outside references."""
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH)}
    demo = Path(__file__).with_name("demo.sh")
    done = subprocess.run(
        ["sh", str(demo), mplus], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    )
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(done.stdout.decode().strip()))
    drawn = console.export_svg(title="mplus")
    Path(picture).write_text(re.sub(r"@font-face\s*{[^}]*}", "", drawn), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
