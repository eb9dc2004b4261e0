# amaranth: UnusedElaboratable=no
import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

from hwgen.blocks.counters import (
    LONGEST_ORBIT,
    TAPS,
    Orbit,
    _states,
    counter_ahead,
    credits,
    increment,
    spans,
    turn_codes,
    turns_ahead,
)
from hwgen.blocks.primitives import addresses, memory_style, ram_bram36, ram_luts


def watched(m: Module, signals, steps, step: Signal) -> list[tuple[int, ...]]:
    """Values of signals before each clock of a simulation, in which ``step`` takes ``steps``."""
    seen = []

    async def bench(ctx):
        for value in steps:
            ctx.set(step, value)
            seen.append(tuple(ctx.get(signal) for signal in signals))
            await ctx.tick()

    m.d.sync += Signal(name="clocked").eq(0)  # a clock for what is constant
    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return seen


def random_steps(count: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(2, size=count).tolist()


@pytest.mark.parametrize("bits", TAPS)
def test_a_shift_register_passes_through_all_its_states(bits):
    states = _states(bits)
    assert sorted(states) == list(range(1 << bits))
    assert states[0] == 0
    assert states[-1] == 1 << bits - 1  # from there it returns to 0


COUNTS = [1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 33, 100]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("make", [counter_ahead, turns_ahead])
def test_a_counter_ends_at_every_countth_step_and_knows_it_a_clock_ahead(make, count):
    m, step = Module(), Signal()
    value, end, will_end = make(m, count, step, "counter")
    steps = random_steps(4 * count + 10, count)
    codes = turn_codes(count) if make is turns_ahead else np.arange(count)
    done, expected = 0, []
    for moves in steps:
        after = done + moves
        expected.append((codes[done % count], done % count == count - 1,
                         after % count == count - 1))
        done = after
    assert watched(m, [value, end, will_end], steps, step) == expected


@pytest.mark.parametrize("count", COUNTS)
def test_codes_of_turns_differ_and_fit_the_bits_of_a_number(count):
    codes = turn_codes(count).tolist()
    assert len(set(codes)) == count
    assert max(codes) < 1 << (count - 1).bit_length()


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_spans_say_which_ranges_a_step_is_in(count):
    ranges = [(0, count), (0, 1), (count - 1, count), (count // 2, count), (1, count - 1), (0, 3),
              (2, 2), (1, count + 4)]
    m, step = Module(), Signal()
    end, inside = spans(m, count, step, "place", ranges)
    steps = random_steps(4 * count + 10, count)
    places = (np.cumsum([0, *steps[:-1]]) % count).tolist()
    assert watched(m, [end, *inside], steps, step) == [
        (place == count - 1, *(begin <= place < stop for begin, stop in ranges))
        for place in places]


@pytest.mark.parametrize("places, burst", [(1, 1), (2, 1), (5, 1), (31, 1), (32, 1), (70, 1),
                                           (5, 2), (9, 4), (40, 8)])
def test_credits_are_free_while_a_burst_has_places(places, burst):
    m, take, give = Module(), Signal(), Signal()
    free, will_be_free = credits(m, None, places, take, give, burst=burst)
    rng = np.random.default_rng(places)
    wrong, seen = [], set()

    async def bench(ctx):
        left, owed, expected = places, 0, None
        for n in range(40 * places):
            eager = n // (4 * places) % 2  # full and empty in turn
            if expected is not None and ctx.get(free) != expected:
                wrong.append(n)
            # Of a burst, each takes one of the places that it began with.
            begins = not owed and ctx.get(free) and rng.random() < (0.9 if eager else 0.1)
            owed = burst if begins else owed
            takes = int(owed > 0)
            gives = int(left < places and rng.random() < (0.1 if eager else 0.9))
            ctx.set(take, takes)
            ctx.set(give, gives)
            left, owed = left - takes + gives, owed - takes
            expected = int(left >= burst)
            if ctx.get(will_be_free) != expected:
                wrong.append(n)
            seen.add(left)
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert not wrong
    assert {0, places} <= seen


@pytest.mark.parametrize("bits", [1, 3, 10, 11])
def test_increment_adds_one_and_wraps(bits):
    m, value = Module(), Signal(bits)
    result = Signal(bits)
    m.d.comb += result.eq(increment(value))
    last = (1 << bits) - 1
    seen = watched(m, [value, result], [0, 1, last // 2, last], value)
    assert [result for _, result in seen] == [1, 2 & last, (last // 2 + 1) & last, 0]


@given(st.integers(1, 70), st.integers(1, 9000))
def test_addresses_are_as_many_as_are_needed_and_cost_no_more_memory(width, depth):
    style = memory_style(width, depth)
    orbit = addresses(width, depth, style)
    cost = ram_bram36 if style == "block" else ram_luts
    assert orbit.words >= depth
    assert cost(width, orbit.words) == cost(width, depth)
    assert 1 <= orbit.low <= LONGEST_ORBIT


@pytest.mark.parametrize("orbit", [Orbit(2, 1), Orbit(3, 1), Orbit(2, 3), Orbit(4, 2)])
@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("all_but", [0, 1])
def test_a_pointer_goes_around_its_addresses(orbit, start, all_but):
    assert sorted(map(orbit.address, range(orbit.words))) == list(range(orbit.words))
    period = orbit.words - all_but
    start = 0 if all_but else start  # a shorter round has no other beginning
    m, step = Module(), Signal()
    place = orbit.pointer(m, step, "place", period=period, start=start)
    steps = random_steps(4 * orbit.words + 10, orbit.words)
    passed = np.cumsum([start, *steps[:-1]]) % period
    assert watched(m, [place], steps, step) == [(orbit.address(n),) for n in passed.tolist()]


@pytest.mark.parametrize("low, rounds", [(1, 1), (3, 1), (5, 3), (8, 2)])
def test_the_address_in_front_of_another_leads_to_it(low, rounds):
    orbit = Orbit(low, rounds)
    for n in range(orbit.words):
        assert orbit.before(orbit.address(n + 1)) == orbit.address(n)
