"""`mplus doctor`: is this machine able to read and answer? One row a check, with a remedy where it fails.

torch is asked in a child process only for the device; everything else is looked at without loading a model.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mplus_cli import models, shelf
from mplus_cli.errors import MplusError
from mplus_cli.settings import Places
from mplus_cli.words import count, size

NEEDED = ("torch", "transformers", "peft", "safetensors", "tokenizers", "pypdf", "pypdfium2", "ebooklib", "lxml")
MEMORY_RESERVE = 512 * 1024**2  # bytes beside the weights
DISK_RESERVE = 1024**3
SAFE_EXPAT = (2, 6, 0)  # older ones can be made to grow without bound
DEVICE_PROBE = (
    "import json, torch; c = torch.cuda.is_available(); print(json.dumps({'torch': torch.__version__, 'cuda': c,"
    " 'name': torch.cuda.get_device_name(0) if c else '', 'memory': torch.cuda.mem_get_info(0)[0] if c else 0,"
    " 'built': torch.version.cuda or '', 'threads': torch.get_num_threads()}))"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One row: what was looked at, whether it is well, what was found, and what to do where it is not."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `doctor --json` prints it."""
        return asdict(self)


def examine(places: Places) -> Iterator[Check]:
    """All checks, one after the other; a check that fails to run is a failed check."""
    checks: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("versions", _versions),
        ("device", _device),
        ("memory", lambda: _memory(places.models)),
        ("disk", lambda: _disk(places)),
        ("permissions", lambda: _permissions(places)),
        ("weights", lambda: _weights(places.models)),
        ("libraries", lambda: _libraries(places.libraries)),
        ("expat", _expat),
    ]
    for name, check in checks:
        try:
            yield from check()
        except MplusError as error:
            yield Check(name, False, error.message, error.remedy)
        except Exception as error:  # a check must never hide the others
            yield Check(name, False, f"{type(error).__name__}: {error}", "Run `mplus doctor --debug` and report it.")


def _versions() -> Iterator[Check]:
    wanted = (3, 11)
    python = platform.python_version()
    yield Check(
        "python", sys.version_info >= wanted, python, "" if sys.version_info >= wanted else "Use 3.11 or later."
    )
    found, missing = {}, []
    for name in NEEDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    detail = ", ".join(f"{name} {version}" for name, version in found.items())
    remedy = "Install mplus again: `pip install --force-reinstall mplus`." if missing else ""
    yield Check("packages", not missing, f"missing: {', '.join(missing)}" if missing else detail, remedy)


def _device() -> Iterator[Check]:
    """Ask torch in a child: a broken driver must not take the doctor down."""
    answer = subprocess.run([sys.executable, "-c", DEVICE_PROBE], capture_output=True, text=True, timeout=120)
    if answer.returncode:
        lines = answer.stderr.strip().splitlines() or ["no message"]
        yield Check("device", False, f"torch does not start: {lines[-1]}", "Install torch again.")
        return
    found = json.loads(answer.stdout.strip().splitlines()[-1])
    if found["cuda"]:
        yield Check("device", True, f"cuda: {found['name']}, {size(found['memory'])} free; torch {found['torch']}")
        return
    driver = shutil.which("nvidia-smi") is not None
    detail = f"cpu, {found['threads']} threads; torch {found['torch']}"
    if driver:
        built = f"built for CUDA {found['built']}" if found["built"] else "built without CUDA"
        remedy = "Install the torch build for your driver; see pytorch.org."
        yield Check("device", False, f"an NVIDIA driver is here, but torch ({built}) sees no GPU", remedy)
        return
    yield Check("device", True, detail)


def _memory(models_folder: Path) -> Iterator[Check]:
    psutil: Any = importlib.import_module("psutil")
    free, needed = psutil.virtual_memory().available, _weights_bytes(models_folder) + MEMORY_RESERVE
    remedy = "" if free >= needed else "Close other programs."
    yield Check("memory", free >= needed, f"{size(free)} available, {size(needed)} needed by the default model", remedy)


def _weights_bytes(models_folder: Path) -> int:
    """What the default model takes in float32, the widest it may run in."""
    records = models.list_models(models_folder)
    return 2 * records[0].bytes if records else 0


def _disk(places: Places) -> Iterator[Check]:
    folder = places.libraries
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    remedy = "" if free >= DISK_RESERVE else "Free some space, or move everything with MPLUS_HOME."
    yield Check("disk", free >= DISK_RESERVE, f"{size(free)} free for {places.libraries}", remedy)


def _permissions(places: Places) -> Iterator[Check]:
    """Folders that exist must be ours alone; those that do not must be makeable."""
    open_ones, blocked = [], []
    for folder in (places.libraries, places.models, places.state):
        if folder.exists():
            status = folder.stat()
            open_ones += [folder] if status.st_mode & 0o077 or status.st_uid != os.getuid() else []
        else:
            parent = next(parent for parent in folder.parents if parent.exists())
            blocked += [] if os.access(parent, os.W_OK) else [folder]
    if open_ones:
        detail = f"others can look into {', '.join(map(str, open_ones))}"
        yield Check("permissions", False, detail, f"chmod 700 {' '.join(map(str, open_ones))}")
    elif blocked:
        detail = f"cannot write {', '.join(map(str, blocked))}"
        yield Check("permissions", False, detail, "Give yourself that folder, or set MPLUS_HOME to another one.")
    else:
        yield Check("permissions", True, "only you can read what mplus keeps")


def _weights(models_folder: Path) -> Iterator[Check]:
    records = models.list_models(models_folder)
    if not records:
        yield Check(
            "weights", False, "no model at hand", "`mplus model pull mplus-8b`, or `mplus model import FOLDER`."
        )
    for record in records:
        name = f"model {record.name}"
        if record.lacks:
            yield Check(name, False, f"lacks {', '.join(record.lacks)}", f"Pull or import it again: {record.path}")
        else:
            yield Check(name, True, f"{size(record.bytes)}, {record.kind}, {record.mode} mode")


def _libraries(folder: Path) -> Iterator[Check]:
    from mplus_cli.library.library import Library

    names = shelf.names(folder)
    if not names:
        yield Check("libraries", True, f"none yet in {folder}")
    for name in names:
        try:
            documents = Library.open(folder / name).documents()
        except MplusError as error:
            yield Check(f"library {name}", False, error.message, error.remedy)
        else:
            yield Check(f"library {name}", True, count(len(documents), "document"))


def _expat() -> Iterator[Check]:
    """Books are parsed by lxml without DTDs; an old expat is worth a word, but no failure."""
    import pyexpat

    version = pyexpat.version_info
    old = version < SAFE_EXPAT
    words = ".".join(map(str, version)) + (" (older than 2.6.0; mplus parses no book with it)" if old else "")
    yield Check("expat", True, words, "Update Python when you can." if old else "")
