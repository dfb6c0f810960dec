"""`mplus model pull`: the only room that uses the network. Resumable, checked for space before and for bytes after."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from mplus_cli import models
from mplus_cli.errors import ModelMissing, UsageError

CATALOGUE = {  # published checkpoints by the name that people type
    "mplus-8b": "YuWangX/mplus-8b",
    "memoryllm-8b": "YuWangX/memoryllm-8b",
    "memoryllm-8b-chat": "YuWangX/memoryllm-8b-chat",
}
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository: its name, its bytes, and its sha256 where the hub knows one (large files)."""

    name: str
    bytes: int
    sha256: str | None = None


class Hub(Protocol):
    """What is needed of a model hub; tests hand in a plain fake."""

    def resolve(self, repository: str, revision: str | None) -> tuple[str, Sequence[HubFile]]:
        """The commit that a revision names now, and the files of that commit."""

    def download(self, repository: str, commit: str, names: Sequence[str], folder: Path) -> None:
        """Bring files into a folder; goes on where an earlier download stopped."""


class HuggingFaceHub:
    """The Hugging Face hub through its own client."""

    def resolve(self, repository: str, revision: str | None) -> tuple[str, Sequence[HubFile]]:
        """See Hub.resolve."""
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read at its import
        from huggingface_hub import HfApi

        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
        assert info.sha is not None
        files = [
            HubFile(item.rfilename, item.size or 0, item.lfs.sha256 if item.lfs else None)
            for item in info.siblings or ()
        ]
        return info.sha, files

    def download(self, repository: str, commit: str, names: Sequence[str], folder: Path) -> None:
        """See Hub.download."""
        from huggingface_hub import snapshot_download

        snapshot_download(repository, revision=commit, local_dir=folder, allow_patterns=list(names))


@dataclass(frozen=True, slots=True)
class PullProgress:
    """Bytes on this disk of the bytes in all."""

    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class PullDone:
    """The model is at hand; `fresh` is False where it was already."""

    record: models.ModelRecord
    fresh: bool


def pull(
    name: str, models_folder: Path, *, revision: str | None = None, offline: bool = False, hub: Hub | None = None
) -> Iterator[PullProgress | PullDone]:
    """Fetch a published model; the last event is PullDone.

    Raises UsageError (unknown name), ModelMissing (offline, unreachable, wrong bytes, no M+ model), NotEnoughSpace.
    """
    repository, name = _repository(name)
    if offline:
        raise ModelMissing(
            f"{name} would have to be fetched, and mplus is offline.",
            "Leave out --offline (MPLUS_OFFLINE), or copy the folder here and run `mplus model import`.",
        )
    hub = hub or HuggingFaceHub()
    target, staging = models_folder / name, models_folder / f".{name}.partial"
    commit, files = _resolved(hub, repository, revision)
    if models.read_manifest(target).get("revision") == commit:
        yield PullDone(models.usable(models.describe(target)), fresh=False)
        return
    total = sum(file.bytes for file in files)
    models.require_space(models_folder, max(0, total - _bytes_in(staging)))
    staging.mkdir(mode=0o700, exist_ok=True)
    yield from _downloaded(hub, repository, commit, files, staging)
    _check(staging, files)
    shutil.rmtree(staging / ".cache", ignore_errors=True)  # the client's own notes for resuming
    models.usable(models.describe(staging))
    models.write_manifest(staging, source=repository, revision=commit)
    shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)
    yield PullDone(models.describe(target), fresh=True)


def _repository(name: str) -> tuple[str, str]:
    """The repository of a name, and the name of its folder. `owner/name` is taken as it is."""
    if name in CATALOGUE:
        return CATALOGUE[name], name
    if name.count("/") == 1 and not name.startswith(("/", ".", "~")):
        return name, models.checked_name(name.split("/")[1].lower())
    raise UsageError(f"There is no published model {name!r}.", f"Known: {', '.join(CATALOGUE)}; or OWNER/NAME.")


def _resolved(hub: Hub, repository: str, revision: str | None) -> tuple[str, list[HubFile]]:
    try:
        commit, files = hub.resolve(repository, revision)
    except Exception as error:
        raise _unreachable(repository, error) from error
    models._refuse_pickles(file.name for file in files)
    wanted = [file for file in files if "/" not in file.name and any(fnmatch(file.name, p) for p in models.WANTED)]
    return commit, wanted


def _unreachable(repository: str, error: Exception) -> ModelMissing:
    first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return ModelMissing(
        f"{repository} could not be fetched: {first_line}",
        "Check the network and the name, then run the same command again: it goes on where it stopped.",
    )


def _downloaded(
    hub: Hub, repository: str, commit: str, files: Sequence[HubFile], folder: Path
) -> Iterator[PullProgress]:
    """Download in a thread; the growth of the folder is the progress, whatever client writes it."""
    failures: list[Exception] = []

    def work() -> None:
        try:
            hub.download(repository, commit, [file.name for file in files], folder)
        except Exception as error:
            failures.append(error)

    total = sum(file.bytes for file in files)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
        yield PullProgress(min(total, _bytes_in(folder)), total)
    if failures:
        raise _unreachable(repository, failures[0]) from failures[0]


def _bytes_in(folder: Path) -> int:
    """Bytes of the files below a folder; files that vanish meanwhile count nothing."""
    found = 0
    for path in folder.rglob("*") if folder.is_dir() else ():
        try:
            found += path.stat().st_blocks * 512 if path.is_file() else 0  # what is really there: files may be sparse
        except FileNotFoundError:
            continue
    return found


def _check(folder: Path, files: Sequence[HubFile]) -> None:
    """Raises ModelMissing where a file is not what the hub named; a wrong file is removed, so that it is refetched."""
    for file in files:
        path = folder / file.name
        right = path.is_file() and path.stat().st_size == file.bytes
        if right and file.sha256 is not None:
            right = models.sha256(path) == file.sha256
        if not right:
            path.unlink(missing_ok=True)
            raise ModelMissing(f"{file.name} did not arrive whole.", "Run the same command again: only it is fetched.")
