"""Walking through the keys of many blocks, on the CPU with several threads.

A thread takes some blocks after others, with operations that take one thread each: those of a tile are too small to be
divided. What is found does not depend on how many threads there are.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from typing import TypeVar

import torch

from model.key_formats import Keys, joined, kind

RUN_ROWS = 4096  # of neighbouring blocks that are taken as one, on the CPU
THREADED_ROWS = 65_536  # what a thread takes at a time; fewer rows in all are not worth a start of threads
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
Found = TypeVar("Found")


def each(
    blocks: Sequence[Keys],
    worker: Callable[[], Callable[[range, Iterable[list[Keys]]], Found]],
    device: torch.device,
    unit: int = 1,
) -> Iterator[tuple[range, Found]]:
    """What a worker finds in some blocks after others, in order, with their numbers. Each thread makes its own worker.

    A worker is handed some `THREADED_ROWS` together, in `pieces`. On the CPU its operations take one thread each.
    """
    found = shares(blocks, runs(blocks, unit, RUN_ROWS if device.type == "cpu" else 0))
    if device.type != "cpu":
        find = worker()
        yield from ((numbers(some), find(numbers(some), pieces(blocks, some))) for some in found)
        return
    threads = torch.get_num_threads() if threaded(blocks, device) else 1
    with one_thread_operations():
        yield from _in_threads(blocks, found, worker, threads)


def threaded(blocks: Sequence[Keys], device: torch.device) -> bool:
    """Whether the keys of these blocks are walked through by several threads."""
    many = device.type == "cpu" and sum(map(len, blocks)) >= 2 * THREADED_ROWS
    return many and torch.get_num_threads() > 1


def _in_threads(
    blocks: Sequence[Keys],
    found: Sequence[Sequence[range]],
    worker: Callable[[], Callable[[range, Iterable[list[Keys]]], Found]],
    threads: int,
) -> Iterator[tuple[range, Found]]:
    own, inference = threading.local(), torch.is_inference_mode_enabled()

    def begin() -> None:
        own.find = worker()

    def find_in(some: Sequence[range]) -> tuple[range, Found]:
        with torch.inference_mode(inference), torch.no_grad():  # threads do not inherit them
            return numbers(some), own.find(numbers(some), pieces(blocks, some))

    if threads == 1:
        begin()
        yield from map(find_in, found)
        return
    give_memory_back()
    with ThreadPoolExecutor(threads, "keys", begin) as pool:
        waiting: deque[Future[tuple[range, Found]]] = deque()
        for some in found:
            waiting.append(pool.submit(find_in, some))
            if len(waiting) > threads:  # none runs ahead and fills memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def runs(blocks: Sequence[Keys], unit: int, most: int) -> list[range]:
    """Numbers of neighbouring blocks that are taken as one, of `most` rows or fewer: of one kind, and each but the last
    of whole units, for what is done with a few rows costs as much as what is done with many."""
    found, start, rows = [], 0, 0
    for number, block in enumerate(blocks):
        if start < number and (rows + len(block) > most or rows % unit or kind(block) != kind(blocks[start])):
            found.append(range(start, number))
            start, rows = number, 0
        rows += len(block)
    return [*found, range(start, len(blocks))] if len(blocks) else []


def numbers(runs: Sequence[range]) -> range:
    """The blocks of neighbouring runs."""
    return range(runs[0].start, runs[-1].stop)


def pieces(blocks: Sequence[Keys], runs: Sequence[range]) -> Iterator[list[Keys]]:
    """The keys of runs: those of single blocks as they are, as many together as are of one kind; a run of several
    blocks alone, as one copy that the next need not wait for."""
    whole: list[Keys] = []
    for run in runs:
        if whole and (len(run) > 1 or kind(whole[0]) != kind(blocks[run.start])):
            yield whole
            whole = []
        if len(run) > 1:
            yield joined(blocks[run.start : run.stop])
        else:
            whole.append(blocks[run.start])
    if whole:
        yield whole


def shares(blocks: Sequence[Keys], runs: Sequence[range]) -> list[list[range]]:
    """Neighbouring runs that have `THREADED_ROWS` together, or a little more; the last, fewer."""
    found: list[list[range]] = [[]] if runs else []
    rows = 0
    for run in runs:
        if rows >= THREADED_ROWS:
            found.append([])
            rows = 0
        found[-1].append(run)
        rows += sum(len(blocks[number]) for number in run)
    return found


@cache
def give_memory_back() -> None:
    """Freed memory goes back to the system, but for a mebibyte. glibc learns from large arrays to keep what is freed
    after them: 20 to 50 MB after a search among a million rows. Where there is no glibc nothing happens."""
    with suppress(OSError, AttributeError, TypeError):
        for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            ctypes.CDLL(None).mallopt(parameter, 1 << 20)


@contextmanager
def one_thread_operations() -> Iterator[None]:
    """Operations take one thread each, in all threads of the process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
