"""Walking through the keys of many blocks, on the CPU with several threads.

A thread takes some blocks after others, with operations that take one thread each: those of a tile are too small to be
divided. What is found does not depend on how many threads there are.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from typing import TypeVar

import torch

from model.key_formats import Keys, grain

THREADED_ROWS = 65_536  # what a thread takes at a time; fewer rows in all are not worth a start of threads
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
Found = TypeVar("Found")


def tiles(keys: Keys, most: int, unit: int = 1) -> Iterator[tuple[int, int]]:
    """Where parts of `most` rows or fewer, of nearly equal size, start and stop; at multiples of `unit` rows and where
    the keys can be cut, so that one unit may be more."""
    unit = math.lcm(unit, grain(keys))
    units = -(-len(keys) // unit)
    parts = -(-units // max(1, most // unit))
    edges = [min(units * part // max(1, parts) * unit, len(keys)) for part in range(parts + 1)]
    return itertools.pairwise(edges)


def each(
    blocks: Sequence[Keys], worker: Callable[[], Callable[[int, Keys], Found]], device: torch.device
) -> Iterator[Found]:
    """What a worker finds in every block, in order; it is told the block's number. Each thread makes its own worker."""
    many = device.type == "cpu" and sum(map(len, blocks)) >= 2 * THREADED_ROWS
    threads = torch.get_num_threads() if many else 1
    if many:
        give_memory_back()
    if threads == 1:
        yield from itertools.starmap(worker(), enumerate(blocks))
        return
    own, inference = threading.local(), torch.is_inference_mode_enabled()

    def begin() -> None:
        own.find = worker()

    def find_in(numbers: range) -> list[Found]:
        with torch.inference_mode(inference), torch.no_grad():  # threads do not inherit them
            return [own.find(number, blocks[number]) for number in numbers]

    with one_thread_operations(), ThreadPoolExecutor(threads, "keys", begin) as pool:
        waiting: deque[Future[list[Found]]] = deque()
        for numbers in shares(blocks):
            waiting.append(pool.submit(find_in, numbers))
            if len(waiting) > threads:  # none runs ahead and fills memory
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def shares(blocks: Sequence[Keys]) -> list[range]:
    """Numbers of neighbouring blocks that have `THREADED_ROWS` together, or a little more; of the last, fewer."""
    found, first, rows = [], 0, 0
    for number, block in enumerate(blocks, 1):
        rows += len(block)
        if rows >= THREADED_ROWS or number == len(blocks):
            found.append(range(first, number))
            first, rows = number, 0
    return found


@cache
def give_memory_back() -> None:
    """Freed memory goes back to the system, but for a mebibyte. glibc learns from large arrays to keep what is freed
    after them: 20 to 50 MB after a search among a million rows. Where there is no glibc nothing happens."""
    with suppress(OSError, AttributeError):
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
