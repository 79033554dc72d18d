"""Calls of the admin API, and what every failure of one looks like."""

from convoy_py.errors import Kind
from tests.unit.api.wire import Answer, Socket

HEADERS = "Host: convoy\r\nConnection: close\r\n"


async def ask(
    socket: Socket, method: str, target: str, body: object = b"", *, headers: str = ""
) -> Answer:
    answer = await socket.request(target, body, method=method, headers=HEADERS + headers)
    assert answer is not None
    return answer


def assert_failed(answer: Answer, status: int, kind: Kind, *parts: str) -> None:
    assert answer.headers["content-type"].startswith("application/json")
    assert set(answer.json) == {"Error", "Kind"}
    assert (answer.status, answer.json["Kind"]) == (status, kind)
    for part in parts:
        assert part in answer.json["Error"]
