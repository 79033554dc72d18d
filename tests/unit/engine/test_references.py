"""Mount references follow the rule that survives docker cp, dead engines and Podman."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.engine.memory.references import (
    NO_ID,
    OPERATOR,
    PODMAN_ID,
    UNSEEN,
    acquire,
    collectable,
    drop,
    epoch_lasts,
    is_anothers,
    operators,
    release,
    unseen,
)
from convoy_py.linux import peers
from convoy_py.state.records import References

NONE = References(boot="b")


def test_each_container_counts_for_itself() -> None:
    """Two IDs hold until both are released."""
    held = acquire(acquire(NONE, "a", "1:1"), "b", "1:1")
    assert held.total == 2
    assert release(held, "a").holds.keys() == {"b"}
    assert release(release(held, "a"), "b").holds == {}


def test_docker_cp_mounts_a_running_containers_id_again() -> None:
    """The second Mount of one ID needs a second Unmount."""
    held = acquire(acquire(NONE, "a", "1:1"), "a", "1:1")
    assert held.total == 2
    assert release(held, "a").total == 1


def test_an_engine_that_died_mounts_its_old_ids_anew() -> None:
    """What an older life of the engine counted is not added to."""
    held = acquire(acquire(acquire(NONE, "a", "1:1"), "a", "1:1"), "a", "2:9")
    assert held.total == 1
    assert release(held, "a").holds == {}


@pytest.mark.parametrize("flag", [PODMAN_ID, NO_ID])
def test_podmans_one_id_and_no_id_are_flags(flag: str) -> None:
    """Podman counts for itself, and repeats a Mount that timed out; so does who calls by hand."""
    held = acquire(acquire(NONE, flag, "1:1"), flag, "1:1")
    assert held.total == 1
    assert collectable(held) == {}
    assert release(held, flag).holds == {}


def test_an_operators_hold_is_a_flag_and_no_leak() -> None:
    """`convoy mount` twice needs one `convoy umount`; no collector takes it away."""
    held = acquire(acquire(acquire(NONE, "me", OPERATOR), "me", OPERATOR), "a", "1:1")
    assert operators(held) == ["me"]
    assert held.total == 2
    assert collectable(held) == {"a": "1:1"}


def test_an_engine_that_cannot_be_seen_is_believed() -> None:
    """Its containers cannot be seen either, so that nobody is seen proves nothing."""
    held = acquire(NONE, "a", f"{UNSEEN}token:1")
    assert collectable(held) == {}
    assert unseen(held)
    assert not unseen(acquire(NONE, "a", "1:1"))


def test_an_operators_hold_ends_alone() -> None:
    """What an engine holds beside it stays."""
    held = acquire(acquire(NONE, "me", OPERATOR), "a", "1:1")
    assert release(held, "me").total == 1


def test_releasing_what_is_not_held_changes_nothing() -> None:
    """Older engines send one Unmount too many."""
    assert release(NONE, "a") is NONE


def test_dropping_forgets_all_counts_of_an_id() -> None:
    """A leak is dropped whole."""
    held = acquire(acquire(acquire(NONE, "a", "1:1"), "a", "1:1"), "b", "1:1")
    assert drop(held, "a").holds.keys() == {"b"}


def test_a_name_that_somebody_else_holds_by_is_known() -> None:
    """An operator's and an engine's are not one hold; of the same kind they are."""
    held = acquire(acquire(NONE, "me", OPERATOR), "a", "1:1")
    asked = [("me", "1:1"), ("me", OPERATOR), ("a", OPERATOR), ("a", "2:2"), ("b", OPERATOR)]
    assert [is_anothers(held, *each) for each in asked] == [True, False, True, False, False]


_SELF = f"{os.getpid()}:{peers.start_time(os.getpid())}"


@pytest.mark.parametrize(
    ("epoch", "lives"),
    [
        (_SELF, True),
        (f"{os.getpid()}:1", False),
        (f"{os.getpid()}:x", False),
        (f"x{_SELF}", False),
        (OPERATOR, False),
        (f"{UNSEEN}token:1", False),
    ],
    ids=["itself", "another since", "no time", "no number", "operator", "unseen"],
)
def test_an_engine_lives_while_its_process_does(epoch: str, lives: bool) -> None:
    """That one, and not another that has its number since."""
    assert epoch_lasts(epoch) is lives


_ids = st.sampled_from(["a", "b", PODMAN_ID, NO_ID])
_epochs = st.sampled_from(["1:1", "2:2", OPERATOR])


@given(st.lists(st.tuples(st.booleans(), _ids, _epochs), max_size=30))
def test_no_count_is_ever_below_one(steps: list[tuple[bool, str, str]]) -> None:
    """A volume is held exactly while it has holds, whatever is called in whatever order."""
    held = NONE
    for mount, mount_id, epoch in steps:
        held = acquire(held, mount_id, epoch) if mount else release(held, mount_id)
        assert all(hold.count >= 1 for hold in held.holds.values())
        assert held.boot == "b"


@pytest.mark.parametrize("mounts", [1, 2, 5])
def test_as_many_releases_as_mounts_end_at_nothing(mounts: int) -> None:
    """Within one life of the engine the count is exact."""
    held = NONE
    for _ in range(mounts):
        held = acquire(held, "a", "1:1")
    for _ in range(mounts):
        assert held.holds
        held = release(held, "a")
    assert held.holds == {}
