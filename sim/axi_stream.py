"""AXI4-Stream driver and monitor for cocotb that wake up only when something can happen.

Both ends sample at the rising clock edge, where signals still have the values from before it.
While one end waits for the other, no Python runs: it sleeps until ``tready`` or ``tvalid`` rises.
"""

import random
from dataclasses import dataclass, field

from cocotb.simtime import get_sim_time
from cocotb.triggers import RisingEdge, Timer, ValueChange

PERIOD = 10  # simulator steps in a clock; its rising edge comes first


class ContractError(AssertionError):
    """The design broke the stream contract."""


@dataclass
class Stalls:
    """How many clocks an end of the design stalls before each beat.

    Each clock stalls with ``probability``; once a frame, at a random beat, up to ``longest``
    clocks are added, so that pressure reaches the far end of the design.
    """

    probability: float
    longest: int
    beats: int
    random: random.Random
    total: int = 0
    _long_at: int = field(default=0, init=False)

    def before(self, beat: int) -> int:
        """Clocks to stall before beat number ``beat`` of the whole run."""
        if not self.probability:
            return 0
        if beat % self.beats == 0:
            self._long_at = beat + self.random.randrange(self.beats)
        clocks = self.random.randint(0, self.longest) if beat == self._long_at else 0
        while self.random.random() < self.probability:
            clocks += 1
        self.total += clocks
        return clocks


class Stream:
    """Signals ``<prefix>_tdata``, ``_tvalid``, ``_tready`` and ``_tlast`` of the top."""

    def __init__(self, top, prefix: str):
        self.name = prefix
        self.edge = RisingEdge(top.clk)
        self.data = getattr(top, f"{prefix}_tdata")
        self.valid = getattr(top, f"{prefix}_tvalid")
        self.ready = getattr(top, f"{prefix}_tready")
        self.last = getattr(top, f"{prefix}_tlast")
        self.last_clocks: list[int] = []  # of the transfer of each frame's last beat
        self.beats = 0

    @staticmethod
    def clock() -> int:
        """Number of the current clock."""
        return get_sim_time("step") // PERIOD


class StreamSource(Stream):
    """Offers beats to the design; ``first_clocks`` are those of each frame's first beat."""

    def __init__(self, top, prefix: str):
        super().__init__(top, prefix)
        self.first_clocks: list[int] = []

    async def send(self, words: list[int], frame_beats: int, stalls: Stalls) -> None:
        data, valid, last, ready, edge = self.data, self.valid, self.last, self.ready, self.edge
        ready_rises = RisingEdge(ready)
        was_last = None
        for beat, word in enumerate(words):
            if gap := stalls.before(beat):
                valid.value = 0
                await Timer(gap * PERIOD + PERIOD // 2, "step")
            data.value = word
            is_last = beat % frame_beats == frame_beats - 1
            if is_last != was_last:
                last.value = was_last = is_last
            if gap or beat == 0:
                valid.value = 1
            await edge
            while not ready.value:
                await ready_rises
                await edge
            self.beats += 1
            if beat % frame_beats == 0:
                self.first_clocks.append(self.clock())
            if is_last:
                self.last_clocks.append(self.clock())
        valid.value = 0


class StreamSink(Stream):
    """Takes beats and compares them.

    ``mismatch`` is (beat number, found word) of the first beat that differs.
    """

    mismatch: tuple[int, int] | None = None
    _transfer_time = _offer_time = -1

    def __init__(self, top, prefix: str, expected: list[int]):
        super().__init__(top, prefix)
        self.expected = expected

    async def receive(self, frame_beats: int, stalls: Stalls) -> None:
        data, valid, last, ready, edge = self.data, self.valid, self.last, self.ready, self.edge
        valid_rises = RisingEdge(valid)
        gap = stalls.before(0)
        for beat, word in enumerate(self.expected):
            if gap:
                ready.value = 0
                await Timer(gap * PERIOD + PERIOD // 2, "step")
            if gap or beat == 0:
                ready.value = 1
            await edge
            while not valid.value:
                await valid_rises
                await edge
            found = int(data.value)
            is_last = beat % frame_beats == frame_beats - 1
            self._transfer_time = get_sim_time("step")
            self.beats += 1
            if found != word:
                self.mismatch = (beat, found)
                return
            if bool(last.value) != is_last:
                raise ContractError(
                    f"frame {beat // frame_beats}, output beat {beat % frame_beats}: m_axis_tlast "
                    f"is {int(last.value)}, but beat {frame_beats - 1} is the last of a frame")
            if is_last:
                self.last_clocks.append(self.clock())
            gap = stalls.before(beat + 1)

    async def check_valid_holds(self) -> None:
        """Raise ContractError when ``tvalid`` falls though no transfer ended the beat."""
        changes = ValueChange(self.valid)
        while True:
            await changes
            if self.valid.value:
                self._offer_time = get_sim_time("step")
            elif self._transfer_time != get_sim_time("step"):
                raise self._changed("tvalid fell")

    async def check_data_holds(self) -> None:
        """Raise ContractError when a beat changes that was offered and not taken."""
        changes, step = ValueChange(self.data), Timer(1, "step")
        while True:
            await changes
            now = get_sim_time("step")
            await step  # everything of this moment is known now
            if self.valid.value and now not in (self._transfer_time, self._offer_time):
                raise self._changed("tdata changed")

    async def check_silence(self, clocks: int) -> None:
        """Raise ContractError for a beat in the coming clocks."""
        for _ in range(clocks):
            await self.edge
            if self.valid.value:
                raise ContractError("the design sends beats behind the last frame")

    def _changed(self, what: str) -> ContractError:
        return ContractError(f"output beat {self.beats}: {self.name}_{what} while "
                             f"{self.name}_tready was low")
