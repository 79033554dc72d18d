"""The table of scenarios is complete and up to date."""

from tests.e2e import scenarios


def test_every_scenario_is_covered_or_explained() -> None:
    """A scenario has a test or a reason why there is none, never both; every verb has a test."""
    keys = set(scenarios.covered())
    tested = {number for number in scenarios.TITLES if f"11.{number}" in keys}
    assert tested | set(scenarios.UNCOVERED) == set(scenarios.TITLES)
    assert tested & set(scenarios.UNCOVERED) == set()
    assert {key for key in keys if key.startswith("11.")} <= {
        f"11.{number}" for number in scenarios.TITLES
    }
    assert {key for key in keys if key.startswith("12.")} == {
        f"12.{number}" for number in scenarios.VERBS
    }


def test_every_test_says_what_it_covers() -> None:
    """A test's docstring begins with the numbers of its scenarios or faults."""
    assert scenarios.unlabelled() == []


def test_document_is_up_to_date() -> None:
    """docs/scenarios.md is what `python -m tests.e2e.scenarios` writes."""
    assert scenarios.DOCUMENT.read_text(encoding="utf-8") == scenarios.render()
