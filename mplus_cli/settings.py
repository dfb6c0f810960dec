"""Settings (defaults < file < environment < flags), and the only place that knows where files live."""

from __future__ import annotations

import ast
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from mplus_cli.errors import UsageError

APPLICATION = "mplus"
Origin = Literal["default", "file", "environment", "flag"]
COLOURS = ("auto", "always", "never")
DTYPES = ("auto", "bfloat16", "float32")
WEIGHTS = ("auto", "dense", "int8", "nf4")
MEMORY_DTYPES = ("auto", "bf16", "fp8", "int8", "int5", "int4")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")
_LIBRARY = re.compile(r"\w(?:[\w .-]{0,62}\w)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i?)B", re.IGNORECASE)
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Places:
    """The folders that mplus writes to; they are made, readable by their owner only, when first needed."""

    config: Path
    libraries: Path
    models: Path
    state: Path

    @property
    def config_file(self) -> Path:
        """What `mplus config set` writes."""
        return self.config / "config.toml"


def places() -> Places:
    """Where mplus keeps its files: all under MPLUS_HOME when that is set, else where the system wants them."""
    if home := os.environ.get("MPLUS_HOME"):
        root = Path(home).expanduser().absolute()
        return Places(root, root / "libraries", root / "models", root / "state")
    import platformdirs

    folders = platformdirs.PlatformDirs(APPLICATION, appauthor=False)
    data = Path(folders.user_data_dir)
    return Places(Path(folders.user_config_dir), data / "libraries", data / "models", Path(folders.user_state_dir))


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person can set; the text under each field is its help."""

    library: str = "main"
    """The library that commands use when none is named."""

    model: str = "embedded"
    """The model that reads and answers: its name in `mplus model list`, or a folder."""

    device: str = "auto"
    """Where the model runs: auto, cpu, cuda or cuda:N. mplus never falls back from a GPU that was asked for."""

    dtype: str = "auto"
    """The numbers the model computes with: auto, bfloat16 or float32."""

    weights: str = "auto"
    """The model's matrices: dense, int8, nf4 (four bits, needs `mplus[nf4]`); auto: int8 for answers on x86 CPUs."""

    threads: int = 0
    """Processor threads for the model; 0 leaves it to torch. Part of what makes an ingest repeat byte for byte."""

    memory_dtype: str = "auto"
    """How a new library keeps rows: bf16, fp8, int8, int5, int4; auto: the smallest that loses nothing measurable."""

    memory_cap: int = 0
    """Chunks of long-term memory that a question may recall from, the newest; 0 means all that was ever read."""

    max_vram: str = "all"
    """Most memory of a GPU that asking takes: all, or a size such as 8GiB. What does not fit stays on the host."""

    offline: bool = False
    """Never open a connection, not even for `mplus model pull`. HF_HUB_OFFLINE=1 does the same."""

    colour: str = "auto"
    """Colours on the screen: auto, always or never. NO_COLOR means never, FORCE_COLOR always."""

    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False, repr=False)


KEYS = tuple(entry.name for entry in fields(Settings) if entry.name != "origins")
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "library": (lambda value: bool(_LIBRARY.fullmatch(value)), "a name of letters, digits, dashes and dots"),
    "model": (bool, "a name or a folder"),
    "device": (lambda value: bool(_DEVICE.fullmatch(value)), "auto, cpu, cuda or cuda:N"),
    "dtype": (lambda value: value in DTYPES, f"one of {', '.join(DTYPES)}"),
    "weights": (lambda value: value in WEIGHTS, f"one of {', '.join(WEIGHTS)}"),
    "memory_dtype": (lambda value: value in MEMORY_DTYPES, f"one of {', '.join(MEMORY_DTYPES)}"),
    "threads": (lambda value: 0 <= value <= 1024, "a number from 0 to 1024"),
    "max_vram": (
        lambda value: value == "all" or size_in_bytes(value) is not None,
        "all, or a size such as 8GiB or 500 MB",
    ),
    "memory_cap": (lambda value: value >= 0, "a number of chunks, or 0 for all"),
    "colour": (lambda value: value in COLOURS, f"one of {', '.join(COLOURS)}"),
}


def size_in_bytes(size: str) -> int | None:
    """A size in words as bytes: 8GiB, 500 MB, 1.5 gb. None for what is no size."""
    found = _SIZE.fullmatch(size.strip())
    if found is None:
        return None
    number, prefix, binary = found.groups()
    unit: float = 1024 if binary else 1000
    return round(float(number) * math.pow(unit, " KMGT".index(prefix.upper() or " ")))


def load(flags: Mapping[str, object] | None = None) -> Settings:
    """The settings in force and where each comes from (`origins`).

    flags: values from the command line; None stands for a flag that was not given. Raises UsageError, naming the file
    and line, the variable or the flag, for what is unknown or makes no sense.
    """
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = dict.fromkeys(KEYS, "default")
    layers: list[tuple[Origin, dict[str, Any]]] = [
        ("file", _from_file(places().config_file)),
        ("environment", _from_environment()),
        ("flag", _from_flags(flags or {})),
    ]
    for origin, layer in layers:
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    return Settings(**values, origins=origins)


@cache
def help_texts() -> dict[str, str]:
    """What each setting is for: the text that stands under its field in this file."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    texts = {}
    for entry, below in pairwise(body):
        if isinstance(entry, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            texts[ast.unparse(entry.target)] = str(below.value.value)
    return texts


def environment_variable(key: str) -> str:
    """The variable that sets a key: MPLUS_ and its name in capitals."""
    return f"MPLUS_{key.upper()}"


def set_value(key: str, value: str | None) -> Path:
    """Write one setting to the file, keeping its comments and order; None takes it out. Returns the file.

    Raises UsageError for an unknown key or a value that makes no sense, and when the file itself is no TOML.
    """
    import tomlkit
    from tomlkit.exceptions import ParseError

    from mplus_cli.library.shards import private_folder, write_privately

    key = _known(key, "There is no setting {key!r}.")
    parsed = None if value is None else _parse(key, value, f"{key} cannot be {value!r}.")
    path = places().config_file
    try:
        document = tomlkit.parse(_read(path))
    except ParseError as error:
        raise UsageError(f"{path}: {error}.", "Mend the file by hand.") from None
    if parsed is None:
        document.pop(key, None)
    else:
        document[key] = parsed
    private_folder(path.parent)
    write_privately(path, tomlkit.dumps(document).encode())
    return path


def _from_file(path: Path) -> dict[str, Any]:
    text = _read(path)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}.", "Mend the file by hand.") from None
    values = {}
    for key, value in raw.items():
        where = f"{path}, line {_line(text, key)}"
        _known(key, where + ": there is no setting {key!r}.")
        values[key] = _checked(key, value, f"{where}: {key} cannot be {value!r}.")
    return values


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text.", "Mend the file by hand.") from None


def _line(text: str, key: str) -> int:
    found = re.search(rf"^[ \t\[]*[\"']?{re.escape(key)}[\"']?\s*[.=\]]", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _from_environment() -> dict[str, Any]:
    """Empty variables count as not set. Ours come before the conventions that other programs share."""
    values: dict[str, Any] = {}
    if os.environ.get("HF_HUB_OFFLINE", "").casefold() in _TRUE:
        values["offline"] = True
    if os.environ.get("NO_COLOR"):
        values["colour"] = "never"
    elif os.environ.get("FORCE_COLOR"):
        values["colour"] = "always"
    for key in KEYS:
        if text := os.environ.get(environment_variable(key)):
            values[key] = _parse(key, text, f"{environment_variable(key)} cannot be {text!r}.")
    return values


def _from_flags(flags: Mapping[str, object]) -> dict[str, Any]:
    given = {key: value for key, value in flags.items() if value is not None}
    assert set(given) <= set(KEYS), f"no setting for the flags {sorted(set(given) - set(KEYS))}"
    return {
        key: _checked(key, value, f"--{key.replace('_', '-')} cannot be {value!r}.") for key, value in given.items()
    }


def _known(key: str, message: str) -> str:
    name = key.replace("-", "_")
    if name in KEYS:
        return name
    near = get_close_matches(name, KEYS, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(KEYS)}."
    raise UsageError(message.format(key=key), hint)


def _parse(key: str, text: str, message: str) -> object:
    """A value from text, as the environment and `mplus config set` give it."""
    kind = type(getattr(_DEFAULTS, key))
    if kind is bool:
        word = text.strip().casefold()
        if word not in _TRUE + _FALSE:
            raise UsageError(message, "It must be true or false.")
        return word in _TRUE
    if kind is int and re.fullmatch(r"\d{1,15}", text.strip()):
        return _checked(key, int(text), message)
    return _checked(key, text, message)


def _checked(key: str, value: object, message: str) -> object:
    kind = type(getattr(_DEFAULTS, key))
    check, expected = _CHECKS.get(key, (lambda _: True, "true or false"))
    if type(value) is not kind or not check(value):
        raise UsageError(message, f"It must be {expected}.")
    return value


_DEFAULTS = Settings()
