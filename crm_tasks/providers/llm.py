"""Chat completions of any OpenAI-compatible server. Errors become Transient or Permanent by the table of its API.

Plain HTTP instead of the vendor's SDK: one call needs neither its 40 MB per process nor its own retries.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from crm_tasks.config import settings
from crm_tasks.core.errors import Permanent, Transient
from crm_tasks.providers import http
from crm_tasks.providers.http import Answer, NoAnswer, NotSent

_AGAIN = (408, 409, 425, 429)
# 429 of these kinds does not pass by waiting: somebody has to pay.
_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_LONGEST_WAIT = 120


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation: `system`, `user` or `assistant`, and what it says."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model said."""

    text: str
    model: str
    tokens: int


def complete(turns: list[Turn], *, max_tokens: int = 400, user: str | None = None) -> Completion:
    """Ask for the next turn of a conversation.

    Args:
        user: a name of the person that is not personal data, for the provider's abuse control.

    Raises:
        Transient: it may work later. Permanent: the request, the key or the account is wrong.
    """
    config = settings()
    body: dict[str, Any] = {
        "model": config.ai_model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
        config.ai_max_tokens_field: max_tokens,
    }
    if user:
        body["user"] = user
    headers = {"Authorization": f"Bearer {config.ai_api_key or 'none'}", "Content-Type": "application/json"}
    url = f"{config.ai_base_url.rstrip('/')}/chat/completions"
    try:
        answer = http.request("POST", url, data=orjson.dumps(body), headers=headers, timeout=config.ai_timeout)
    except (NotSent, NoAnswer) as error:
        # Asking twice costs a little and harms nobody: no answer is simply tried again.
        raise Transient(f"the language model did not answer: {error}", code="ai_no_answer") from None
    return _completion(answer)


def _completion(answer: Answer) -> Completion:
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        said = {}
    if answer.status != 200:
        raise _error(answer, said)
    try:
        text = said["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise Permanent("the language model gave no text", code="ai_no_text")
    usage = said.get("usage") or {}
    return Completion(text.strip(), str(said.get("model", "")), int(usage.get("total_tokens") or 0))


def _error(answer: Answer, said: Any) -> Transient | Permanent:
    error = said.get("error") if isinstance(said, dict) else None
    kind = str((error or {}).get("code") or (error or {}).get("type") or "") if isinstance(error, dict) else ""
    code = f"ai_http_{answer.status}"
    text = f"the language model answered {answer.status} {kind}".strip()
    if kind in _MONEY:
        return Permanent(text, code=f"ai_{kind}")
    should_retry = answer.headers.get("x-should-retry")
    if should_retry != "false" and (should_retry == "true" or answer.status in _AGAIN or answer.status >= 500):
        return Transient(text, code=code, retry_after=_retry_after(answer))
    return Permanent(text, code=code)


def _retry_after(answer: Answer) -> timedelta | None:
    given = answer.headers.get("retry-after", "")
    seconds = int(given) if given.isdecimal() else None
    return timedelta(seconds=seconds) if seconds is not None and seconds <= _LONGEST_WAIT else None
