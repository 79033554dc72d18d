"""What may never answer is asked once, and keeps nobody from the others."""

from convoy_py.linux.asking import Questions
from tests.fakes_kernel import Gate
from tests.harness import eventually


def test_everybody_answers_in_order() -> None:
    """Also who answers with an error."""

    def ask(key: int) -> int:
        if key == 2:
            raise RuntimeError("a circle of links")
        return key * 10

    first, second, third = Questions(ask, 10.0).answers([3, 2, 1])
    assert (first, third) == ((3, 30), (1, 10))
    assert isinstance(second[1], RuntimeError)


def test_the_silent_are_left_out_and_not_asked_again_before_they_answered() -> None:
    """However many there are; whoever comes after them is asked."""
    gate, asked = Gate(), []

    def ask(key: int) -> int:
        asked.append(key)
        if key in (2, 3):
            gate.pass_through()
        return key * 10

    questions = Questions(ask, 0.05)
    assert list(questions.answers([1, 2, 3, 4])) == [(1, 10), (4, 40)]
    assert questions.silent == {2, 3}
    assert list(questions.answers([1, 2, 3, 4])) == [(1, 10), (4, 40)]
    assert (asked.count(2), asked.count(3)) == (1, 1)
    gate.open()
    eventually(lambda: not questions.silent, "they have answered")
    assert len(list(questions.answers([1, 2, 3, 4]))) == 4
