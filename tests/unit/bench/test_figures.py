"""The bench's statistics and tables."""

import pytest

from bench.figures import Table, Timings, mebibytes, milliseconds, percentile, sample, times


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.01, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_a_percentile_is_the_value_that_so_many_do_not_exceed(share: float, value: float) -> None:
    """Whatever order the values come in."""
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, share) == value


def test_a_percentile_of_few_values_is_one_of_them() -> None:
    """The 99th of three is the largest."""
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0


def test_timings_give_the_median_the_worst_and_the_rate() -> None:
    """The rate counts the time in which the calls were made, not the sum of what each took."""
    timings = Timings((0.001, 0.002, 0.009), elapsed=0.006)
    assert (timings.p50, timings.p99, timings.rate) == (0.002, 0.009, 500.0)


def test_timings_of_several_rounds_add_up() -> None:
    """As if they had been one."""
    assert Timings((1.0,), 2.0) + Timings((3.0,), 4.0) == Timings((1.0, 3.0), 6.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0001234, "0.123"), (0.001234, "1.23"), (0.01234, "12.3"), (1.2344, "1234")],
)
def test_milliseconds_have_three_digits_that_count(seconds: float, text: str) -> None:
    """More would be noise, fewer would hide a difference."""
    assert milliseconds(seconds) == text


def test_sizes_and_ratios_are_text() -> None:
    """In MiB with one digit, and with two."""
    assert (mebibytes(1.5 * 2**20), times(1.234)) == ("1.5", "1.23x")


def test_a_table_aligns_names_left_and_figures_right() -> None:
    """Below its title, with a rule under the columns."""
    table = Table("Title", ("call", "ms"))
    table.add("get", "0.25")
    table.add("list", "1234.5")
    assert str(table) == "\n".join(
        ["Title", "call      ms", "----  ------", "get     0.25", "list  1234.5", ""]
    )


def test_a_sample_is_found_by_its_whole_name() -> None:
    """Not by the beginning of another's, and a page without it is an error."""
    page = "# HELP a_sum What\na_sum_total 1.0\na_sum 2.5\nb_sum 3.0\n"
    assert sample(page, "a_sum") == 2.5
    with pytest.raises(LookupError, match="a_s"):
        sample(page, "a_s")
