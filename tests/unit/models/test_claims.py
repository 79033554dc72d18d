"""What may become of a claim, whoever changes it and however late."""

import random
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.models.claims import MOST_HOLDERS, Claim, Crowded, HalfTaken, Held, Member, Mode

TAG = "00c0ffee"
ME, OTHER, THIRD = Member(1, 4), Member(2, 1), Member(3, 7)
FREE = Claim(0, TAG, Mode.FREE, (ME,))


def nobody(_: Member) -> bool:
    return False


def everybody(_: Member) -> bool:
    return True


members = st.builds(Member, st.integers(1, 999), st.integers(0, 999))
claims = st.builds(
    Claim,
    st.integers(0, 10**9),
    st.text("0123456789abcdef", min_size=8, max_size=8),
    st.sampled_from(Mode),
    st.lists(members, min_size=1, max_size=MOST_HOLDERS, unique=True).map(tuple),
)


@given(claims)
def test_a_value_is_read_as_it_was_written_and_fits_a_file_name(claim: Claim) -> None:
    assert Claim.parsed(str(claim)) == claim
    few = Claim(claim.number, claim.tag, claim.mode, claim.members[:20])
    assert len(str(few)) <= 255


@pytest.mark.parametrize(
    "value", ["", "1", "1.00c0ffee.one", "1.00c0ffee.two.1-1", "1.00c0ffee.one.1-1/x", "x.y.z.w"]
)
def test_what_is_no_claim_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="no claim"):
        Claim.parsed(value)


def test_an_image_has_one_host() -> None:
    mine = FREE.used(ME, Mode.ONE, nobody)
    assert (mine.mode, mine.users) == (Mode.ONE, (ME,))
    assert mine.used(ME, Mode.ONE, nobody) == mine
    with pytest.raises(Held) as held:
        mine.used(OTHER, Mode.ONE, nobody)
    assert held.value.others == (ME,)
    assert mine.left(ME).used(OTHER, Mode.ONE, nobody).users == (OTHER,)


def test_what_one_has_is_not_taken_for_he_is_over() -> None:
    """It was not unmounted by him: a journal is to be replayed, and he may wake up."""
    with pytest.raises(Held):
        FREE.used(OTHER, Mode.ONE, nobody).used(ME, Mode.ONE, everybody)


def test_an_earlier_life_of_this_host_has_nothing() -> None:
    before = FREE.used(Member(ME.host, ME.incarnation - 1), Mode.ONE, nobody)
    assert before.used(ME, Mode.ONE, nobody).users == (ME,)
    later = FREE.used(Member(ME.host, ME.incarnation + 1), Mode.ONE, nobody)
    with pytest.raises(Held):  # it is this one that is over
        later.used(ME, Mode.ONE, nobody)


def test_a_directory_has_many_hosts_and_a_verb_that_needs_it_alone_waits_for_all() -> None:
    both = FREE.used(OTHER, Mode.MANY, nobody).used(ME, Mode.MANY, nobody)
    assert both.users == (ME, OTHER)
    with pytest.raises(Held) as held:
        both.used(ME, Mode.ONE, nobody)
    assert held.value.others == (OTHER,)
    alone = both.left(OTHER).used(ME, Mode.ONE, nobody)
    with pytest.raises(Held):
        alone.used(OTHER, Mode.MANY, nobody)
    assert alone.opened(ME).used(OTHER, Mode.MANY, nobody).users == (ME, OTHER)


def test_of_many_those_who_are_over_do_not_count() -> None:
    both = FREE.used(OTHER, Mode.MANY, nobody).used(THIRD, Mode.MANY, nobody)
    assert both.used(ME, Mode.ONE, everybody).users == (ME,)


def test_only_who_has_it_alone_removes_it() -> None:
    for claim in (FREE, FREE.used(OTHER, Mode.ONE, nobody), FREE.used(ME, Mode.MANY, nobody)):
        with pytest.raises(Held):
            claim.gone(ME)
    gone = FREE.used(ME, Mode.ONE, nobody).gone(ME)
    assert (gone.users, gone.back(OTHER, "0ddba110").users) == ((), (OTHER,))


def test_what_is_taken_is_used_by_nobody_before_it_is_settled() -> None:
    theirs = FREE.used(OTHER, Mode.ONE, nobody)
    with pytest.raises(Held) as held:
        theirs.taken(ME, nobody)
    assert held.value.others == (OTHER,)
    taken = theirs.taken(ME, everybody)
    assert (taken.users, taken.left(ME)) == ((ME,), taken)
    with pytest.raises(HalfTaken):
        taken.used(ME, Mode.ONE, everybody)
    with pytest.raises(Held):
        taken.used(THIRD, Mode.MANY, nobody)
    assert taken.taken(THIRD, everybody).users == (THIRD,)
    assert taken.settled(OTHER) == taken
    assert taken.settled(ME).used(ME, Mode.ONE, nobody).users == (ME,)


@pytest.mark.parametrize("claim", [FREE, FREE.used(OTHER, Mode.MANY, nobody)], ids=str)
def test_only_what_one_host_has_is_taken(claim: Claim) -> None:
    with pytest.raises(Held):
        claim.taken(ME, everybody)


def test_there_is_an_end_to_how_many_may_use_it() -> None:
    claim = FREE
    for host in range(MOST_HOLDERS):
        claim = claim.used(Member(host + 10, 1), Mode.MANY, nobody)
    with pytest.raises(Crowded):
        claim.used(ME, Mode.MANY, nobody)
    assert claim.used(Member(10, 1), Mode.MANY, nobody) == claim


@pytest.mark.parametrize("incarnation", [10**digits for digits in range(2, 10)])
def test_there_is_an_end_to_what_a_file_name_holds(incarnation: int) -> None:
    """Before there are as many hosts, if they have lived often."""
    claim = FREE
    with suppress(Crowded):
        for host in range(10, 10 + MOST_HOLDERS):
            claim = claim.used(Member(host, incarnation), Mode.MANY, nobody)
    assert 15 < len(claim.users) < MOST_HOLDERS
    assert len(str(replace(claim, number=99_999_999))) <= 255
    assert claim.left(Member(10, incarnation)).used(ME, Mode.MANY, nobody).users[0] == ME


class Register:
    """Some hosts change one register by swaps, some of which are made long after they were meant.

    Each host believes that it uses the volume once its own swap was made in time.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._value = str(FREE)
        self._past = {self._value}
        self._using: dict[Member, Mode] = {}
        self._late: list[tuple[str, str]] = []
        self._doubtful: set[Member] = set()

    def step(self) -> None:
        me = self._chance.choice([ME, OTHER])
        acts = [self._use, self._leave, self._remove, self._restore, self._at_last]
        self._chance.choice(acts)(me)
        claim = Claim.parsed(self._value)
        assert set(self._using) <= set(claim.users), "it is taken from who uses it"
        assert Mode.ONE not in self._using.values() or len(self._using) == 1

    def _use(self, me: Member) -> None:
        claim, mode = Claim.parsed(self._value), self._chance.choice([Mode.ONE, Mode.MANY])
        if claim.mode is Mode.GONE:
            return
        try:
            new = claim.used(me, mode, nobody, anew=me in self._doubtful)
        except Held:
            return
        if self._swap(me, new):
            self._doubtful.discard(me)
            self._using[me] = new.mode

    def _leave(self, me: Member) -> None:
        self._using.pop(me, None)  # first it lets go, then it says so
        self._swap(me, Claim.parsed(self._value).left(me))

    def _remove(self, me: Member) -> None:
        if me not in self._using:
            return
        try:
            new = Claim.parsed(self._value).gone(me)
        except Held:
            return
        assert set(self._using) <= {me}, "it is removed under a user"
        self._using.clear()  # nothing is mounted of what is to be removed
        self._swap(me, new)

    def _restore(self, me: Member) -> None:
        claim = Claim.parsed(self._value)
        if claim.mode is Mode.GONE and self._swap(me, claim.back(me, claim.tag)):
            self._using = {me: Mode.ONE}
            self._doubtful.discard(me)

    def _at_last(self, _: Member) -> None:
        """A swap is made that was meant long ago."""
        if self._late:
            self._take(*self._late.pop(self._chance.randrange(len(self._late))))

    def _swap(self, me: Member, new: Claim) -> bool:
        """Whether it is made now; otherwise it may be made later."""
        if self._chance.random() < 0.5:
            self._late.append((self._value, str(new)))
            self._doubtful.add(me)
            return False
        self._take(self._value, str(new))
        return True

    def _take(self, old: str, new: str) -> None:
        if self._value == old != new:
            assert new not in self._past, "a value came twice"
            self._past.add(new)
            self._value = new


def test_whoever_changes_it_and_however_late_it_is_taken_from_nobody() -> None:
    for seed in range(1000):
        register = Register(random.Random(seed))
        for _ in range(60):
            register.step()
