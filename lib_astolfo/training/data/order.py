"""Which pictures are seen when: repeats, batches per bucket, their order; a pure function of (seed, epoch).

An epoch sees every picture ``repeats`` times; of a fraction so many times that after n epochs it was seen n · repeats
times, rounded up or down, each picture at a place of its own. A batch holds pictures of one bucket; the last of a
bucket is smaller and is kept, as in kohya (library/train_util.py:1079). The batch is the total over all processes and
accumulation steps: ``shard`` and ``pieces`` divide it, so the order is the same for any number of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data import draws
from lib_astolfo.training.data.buckets import Size
from lib_astolfo.training.data.scan import Item

_PHASES = 1 << 32


@dataclass(frozen=True)
class Seen:
    """One picture at one time: ``index`` among the items, and how many times before in this epoch."""

    index: int
    id: str
    repeat: int = 0

    @property
    def name(self) -> str:
        """Tells it from all others of its epoch; the name for random draws."""
        return f"{self.id}#{self.repeat}"


@dataclass(frozen=True)
class Batch:
    """What one optimiser step sees: pictures of one bucket."""

    bucket: Size
    seen: tuple[Seen, ...]

    def __len__(self) -> int:
        return len(self.seen)


@dataclass(frozen=True)
class Position:
    """The next batch: ``epoch`` and ``batch`` count from 0."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Order:
    """The order of a training.

    ``batch_size`` is the total that one optimiser step sees, over all processes and accumulation steps.
    """

    items: tuple[Item, ...]
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if isinstance(self.batch_size, bool) or self.batch_size < 1:
            raise BadInput("data.batch_size", repr(self.batch_size), "a whole number of at least 1")
        if not self.items:
            raise BadInput("data", "no picture", "at least one picture")
        if len({item.id for item in self.items}) < len(self.items):
            raise BadInput("data", "two pictures of one id", "an id of its own for each picture")

    def epoch(self, epoch: int) -> list[Batch]:
        """All batches of an epoch, counted from 0; empty if no picture's turn comes in it."""
        buckets: dict[Size, list[Seen]] = {}
        for index, item in enumerate(self.items):
            times = repeats(item.repeats, item.id, epoch, self.seed)
            buckets.setdefault(item.fit.bucket, []).extend(Seen(index, item.id, repeat) for repeat in range(times))
        batches: list[Batch] = []
        for bucket, seen in sorted(buckets.items()):
            # By name, not by place in the list, so that the order of the folders does not matter.
            seen.sort(key=lambda one: (one.id, one.repeat))
            shuffled = [seen[at] for at in draws.order(len(seen), self.seed, "pictures", epoch, f"{bucket}")]
            step = self.batch_size
            batches += [Batch(bucket, tuple(shuffled[at : at + step])) for at in range(0, len(shuffled), step)]
        return [batches[at] for at in draws.order(len(batches), self.seed, "batches", epoch)]

    def batches(self, start: Position = Position(), epochs: int | None = None) -> Iterator[tuple[Position, Batch]]:
        """Batches from a position on, to the end of epoch ``epochs`` - 1, or for ever.

        Raises BadInput for a position that does not exist.
        """
        epoch = start.epoch
        while epochs is None or epoch < epochs:
            batches, first = self.epoch(epoch), start.batch if epoch == start.epoch else 0
            if first > len(batches) or min(start.epoch, first) < 0:
                raise BadInput("position", f"batch {first} of epoch {epoch}", f"at most {len(batches)}")
            for number in range(first, len(batches)):
                yield Position(epoch, number), batches[number]
            epoch += 1

    def count(self, epoch: int) -> int:
        """Batches of an epoch."""
        sizes: dict[Size, int] = {}
        for item in self.items:
            times = repeats(item.repeats, item.id, epoch, self.seed)
            sizes[item.fit.bucket] = sizes.get(item.fit.bucket, 0) + times
        return sum(-(-size // self.batch_size) for size in sizes.values())

    def position(self, step: int, epochs: int) -> Position:
        """Where optimiser step ``step``, from 0, stands within ``epochs`` epochs."""
        if step < 0:
            raise BadInput("step", step, "0 or more")
        left = step
        for epoch in range(epochs):
            count = self.count(epoch)
            if left < count:
                return Position(epoch, left)
            left -= count
        raise BadInput("step", step, f"0 to {step - left - 1}, the steps of {epochs} epochs")


def repeats(times: float, item: str, epoch: int, seed: int) -> int:
    """How often a picture is seen in an epoch: floor(times · (epoch + 1) + p) - floor(times · epoch + p), p by item."""
    over, under = _rate(times)
    if under == 1:
        return over
    phase = _phase(seed, item) * under
    before, after = (over * n * _PHASES + phase for n in (epoch, epoch + 1))
    return after // (under * _PHASES) - before // (under * _PHASES)


@functools.lru_cache(maxsize=1024)
def _rate(times: float) -> tuple[int, int]:
    return Fraction(times).limit_denominator(1_000_000).as_integer_ratio()


@functools.lru_cache(maxsize=1 << 17)
def _phase(seed: int, item: str) -> int:
    return draws.whole(_PHASES, seed, "repeats", item)


def shard(batch: Batch, rank: int, processes: int) -> Batch:
    """The part of a batch that process ``rank`` of ``processes`` sees; all parts in order are the batch.

    Parts differ by at most one picture; one may be empty where a batch has fewer pictures than there are processes.
    Losses are means over the whole batch, so each process weighs its own with ``share``.
    """
    if not 0 <= rank < processes:
        raise BadInput("rank", f"{rank} of {processes}", f"0 to {processes - 1}")
    size = len(batch)
    return Batch(batch.bucket, batch.seen[size * rank // processes : size * (rank + 1) // processes])


def pieces(batch: Batch, most: int) -> list[Batch]:
    """A batch in parts of at most ``most`` pictures, as equal as can be, for gradient accumulation."""
    if most < 1:
        raise BadInput("most", most, "at least 1")
    count = -(-len(batch) // most)
    return [shard(batch, at, count) for at in range(count)]


def share(part: Sequence[object] | Batch, whole: Sequence[object] | Batch) -> float:
    """What the mean over a part counts in the mean over the whole batch."""
    return len(part) / len(whole)
