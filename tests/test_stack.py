"""Keys number the frames of a stack, and ranges choose among those of several, as Python counts."""

# SPDX-License-Identifier: BSD-3-Clause

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from beamsight.readers import spread
from beamsight.stack import Keys

RANGES = st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(1, 3))
BOUNDS = st.one_of(st.none(), st.integers(-12, 12))


@settings(deadline=None)
@given(st.lists(RANGES, max_size=3))
def test_keys_run_through_all_places_the_last_axis_fastest(axes: list[tuple[int, int, int]]) -> None:
    keys = Keys("x?slice=", tuple(axes), "!")
    places = list(product(*(range(*a) for a in axes)))
    assert [keys.index(n) for n in range(len(keys))] == places
    assert [keys[n] for n in range(len(keys))] == ["x?slice=" + ",".join(map(str, p)) + "!" for p in places]


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=4), BOUNDS, BOUNDS, st.sampled_from([None, 1, 2, -1, -3]))
def test_a_range_runs_through_the_stacks_of_a_file(
    counts: list[int], start: int | None, stop: int | None, step: int | None
) -> None:
    every = [(s, n) for s, count in enumerate(counts) for n in range(count)]
    chosen = slice(start, stop, step)
    assert list(spread(counts, chosen)) == every[chosen]
