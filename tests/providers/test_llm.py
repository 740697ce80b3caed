"""Answers of a language model as text or as an error that says whether to ask again."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from crm_tasks.core.errors import Outcome, Permanent, Transient
from crm_tasks.providers import llm
from crm_tasks.providers.http import Answer, NoAnswer, NotSent
from crm_tasks.providers.llm import Turn


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say what the model answers; returns what it was asked."""
    asked: list[dict[str, Any]] = []

    def set_answer(status: int, body: Any, **headers: str) -> list[dict[str, Any]]:
        data = body if isinstance(body, bytes) else orjson.dumps(body)

        def request(_method: str, url: str, **options: Any) -> Answer:
            asked.append({"url": url, **options, "body": orjson.loads(options["data"])})
            return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)

        monkeypatch.setattr(llm.http, "request", request)
        return asked

    return set_answer


def said(text: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}}], **more}


def failure() -> Outcome:
    with pytest.raises(Outcome) as raised:
        llm.complete([Turn("user", "Hi")])
    return raised.value


def test_a_text_is_returned_with_what_it_cost(answer: Any) -> None:
    asked = answer(200, said(" Hello \n", model="m", usage={"total_tokens": 12}))
    found = llm.complete([Turn("system", "Be brief"), Turn("user", "Hi")], user="hash", max_tokens=9)
    assert (found.text, found.model, found.tokens) == ("Hello", "m", 12)
    body = asked[0]["body"]
    assert body["messages"] == [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]
    assert (body["max_completion_tokens"], body["user"]) == (9, "hash")
    assert asked[0]["headers"]["Authorization"] == "Bearer of-the-tests"


@pytest.mark.parametrize("body", [said(None), said("  "), said(7), {}, {"choices": []}, [], "x", b"<html>", said({})])
def test_no_text_is_an_end(answer: Any, body: Any) -> None:
    answer(200, body)
    assert isinstance(failure(), Permanent)
    assert failure().code == "ai_no_text"


@pytest.mark.parametrize("usage", [None, {}, {"total_tokens": None}])
def test_a_text_without_a_count_is_a_text(answer: Any, usage: Any) -> None:
    answer(200, said("Hello", usage=usage))
    assert llm.complete([Turn("user", "Hi")]).tokens == 0


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
def test_what_may_pass_is_asked_again(answer: Any, status: int) -> None:
    answer(status, b"<html>")
    assert isinstance(failure(), Transient)
    assert failure().code == f"ai_http_{status}"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_will_not_pass_is_not(answer: Any, status: int) -> None:
    answer(status, {"error": {"code": "invalid_api_key"}})
    assert isinstance(failure(), Permanent)
    assert "invalid_api_key" in str(failure())


@pytest.mark.parametrize("kind", ["insufficient_quota", "billing_hard_limit_reached"])
def test_what_costs_money_does_not_pass_by_waiting(answer: Any, kind: str) -> None:
    answer(429, {"error": {"type": kind}})
    assert (type(failure()), failure().code) == (Permanent, f"ai_{kind}")


def test_the_server_may_say_itself_whether_to_come_again(answer: Any) -> None:
    answer(500, {}, x_should_retry="false")
    assert isinstance(failure(), Permanent)
    answer(400, {}, x_should_retry="true")
    assert isinstance(failure(), Transient)


@pytest.mark.parametrize(("given", "wait"), [("7", 7), ("9999", None), ("soon", None), ("", None)])
def test_a_wait_is_kept_if_it_is_short(answer: Any, given: str, wait: int | None) -> None:
    answer(429, {}, retry_after=given)
    found = failure()
    assert isinstance(found, Transient)
    assert found.retry_after == (None if wait is None else timedelta(seconds=wait))


@pytest.mark.parametrize("error", [NotSent("refused"), NoAnswer("Timeout")])
def test_no_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def request(*_: Any, **__: Any) -> Answer:
        raise error

    monkeypatch.setattr(llm.http, "request", request)
    assert (type(failure()), failure().code) == (Transient, "ai_no_answer")
