"""Inputs made of recorded ones: the same bytes, with something done to them. Deterministic by the generator's seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

EDGES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 19, 20, 63, 64, 127, 128, 191, 192, 254, 255)
"""Bytes at which formats change their minds."""
NUMBERS = (0, -1, 1, 2**15, 2**16, 2**31 - 1, 2**31, 2**32, 2**53, 2**63, 2**64, -(2**63), 1.5, 1e308, -0.0)
TEXTS = ("", " ", "\x00", "a", "é", "\ud800", "😀", "..", "../x", "null", "%s", "x" * 300, "\r\n", "a b", "[::1]", "-1")
LONGEST = 4096
"""Bytes by which one insertion grows an input, at most."""


class Mutator:
    """Makes a new input of one or two of a corpus."""

    def __init__(self, rng: random.Random, corpus: Sequence[bytes], tokens: Sequence[bytes] = ()) -> None:
        """``tokens``: words of the format, to be put where they do not belong."""
        if not corpus:
            raise ValueError("a fuzzer needs something to begin with")
        self.rng = rng
        self._corpus = corpus
        self._tokens = tokens or (b"\x00" * 4, b"\xff" * 4)

    def pick(self) -> bytes:
        """One of the corpus, as it is."""
        return self.rng.choice(self._corpus)

    def make(self) -> bytes:
        """One of the corpus after one to eight changes; rarely none, rarely noise alone."""
        rng = self.rng
        dice = rng.random()
        if dice < 0.02:
            return rng.randbytes(rng.randrange(200))
        data = bytearray(self.pick())
        if dice < 0.04:
            return bytes(data)
        for _ in range(1 + min(int(rng.expovariate(0.8)), 7)):
            rng.choice(self._CHANGES)(self, data)
        return bytes(data)

    def _at(self, data: bytearray) -> int:
        # Headers come first, and are what is parsed.
        end = len(data) if self.rng.random() < 0.5 else min(len(data), 40)
        return self.rng.randrange(end) if end else 0

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._at(data)] ^= 1 << self.rng.randrange(8)

    def _edge(self, data: bytearray) -> None:
        if data:
            data[self._at(data)] = self.rng.choice(EDGES)

    def _any(self, data: bytearray) -> None:
        if data:
            data[self._at(data)] = self.rng.randrange(256)

    def _length(self, data: bytearray) -> None:
        """A 16 or 32-bit number somewhere becomes a wrong one."""
        size = self.rng.choice((2, 4))
        at = self._at(data)
        value = self.rng.choice((0, 1, len(data), len(data) + 1, 0xFFFF, 0x8000, 2 ** (8 * size) - 1))
        data[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, "big")

    def _cut(self, data: bytearray) -> None:
        del data[self._at(data) :]

    def _remove(self, data: bytearray) -> None:
        at = self._at(data)
        del data[at : at + 1 + self.rng.randrange(16)]

    def _repeat(self, data: bytearray) -> None:
        at = self._at(data)
        piece = data[at : at + 1 + self.rng.randrange(64)]
        data[at:at] = piece * self.rng.choice((1, 2, 8, max(1, min(64, LONGEST // max(1, len(piece))))))

    def _insert(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self.rng.choice(self._tokens)

    def _splice(self, data: bytearray) -> None:
        other = self.pick()
        data[self._at(data) :] = other[self.rng.randrange(len(other) + 1) :]

    def _swap(self, data: bytearray) -> None:
        one, other = self._at(data), self._at(data)
        if one < other:
            middle = (one + other) // 2
            data[one:other] = data[middle:other] + data[one:middle]

    _CHANGES: Sequence[Callable[[Mutator, bytearray], None]] = (
        _flip,
        _flip,
        _edge,
        _edge,
        _any,
        _length,
        _cut,
        _remove,
        _repeat,
        _insert,
        _splice,
        _swap,
    )


class JsonMutator:
    """The same for JSON: a value somewhere inside becomes another one, a key is lost, renamed, or comes twice."""

    def __init__(self, rng: random.Random, corpus: Sequence[Any]) -> None:
        self.rng = rng
        self._corpus = [json.dumps(value) for value in corpus]  # loads() makes a copy to work on in less than copy()

    def make(self) -> Any:
        """One of the corpus after one to four changes."""
        value = json.loads(self.rng.choice(self._corpus))
        for _ in range(1 + min(int(self.rng.expovariate(1.0)), 3)):
            value = self._change(value)
        return value

    def _change(self, value: Any, depth: int = 0) -> Any:
        rng = self.rng
        if isinstance(value, dict) and value and rng.random() < 0.85:
            key = rng.choice(list(value))
            match rng.randrange(10):
                case 0:
                    del value[key]
                case 1:
                    value[rng.choice(TEXTS)] = value.pop(key)
                case 2:
                    value[rng.choice(TEXTS)] = self.scalar()
                case _:
                    value[key] = self._change(value[key], depth + 1)
            return value
        if isinstance(value, list) and value and rng.random() < 0.7:
            at = rng.randrange(len(value))
            match rng.randrange(6):
                case 0:
                    del value[at]
                case 1:
                    value *= rng.choice((2, 3, 16))
                    del value[512:]
                case _:
                    value[at] = self._change(value[at], depth + 1)
            return value
        if isinstance(value, str) and rng.random() < 0.5:
            at = rng.randrange(len(value) + 1)
            return value[:at] + rng.choice(TEXTS) + value[at + rng.randrange(3) :]
        return self.value(depth)

    def value(self, depth: int = 0) -> Any:
        """Any JSON value."""
        rng = self.rng
        if depth < 4 and rng.random() < 0.2:
            if rng.random() < 0.5:
                return [self.value(depth + 1) for _ in range(rng.randrange(4))]
            return {rng.choice(TEXTS): self.value(depth + 1) for _ in range(rng.randrange(4))}
        return self.scalar()

    def scalar(self) -> Any:
        """A value without values in it."""
        rng = self.rng
        return rng.choice((None, True, False, rng.choice(NUMBERS), rng.choice(TEXTS), rng.randrange(-10, 100_000)))


def dumps(value: Any) -> bytes:
    """JSON as UTF-8; half surrogates stay, as three bytes that are none."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
