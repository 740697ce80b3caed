"""The AI part, used through the official SDK."""

from typing import Any

import openai
import pytest
from playground import Sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{sandbox.url}/v1", api_key="sk-anything", max_retries=0)


QUESTION: list[Any] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Where is my order?"},
    {"role": "assistant", "content": "Let me look."},
    {"role": "user", "content": [{"type": "text", "text": "It is A-100."}]},
]


def test_an_answer_quotes_the_question_and_says_it_is_simulated(client: openai.OpenAI, sandbox: Sandbox) -> None:
    answer = client.chat.completions.create(model="gpt-5-mini", messages=QUESTION, max_completion_tokens=300)
    choice = answer.choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant"
    assert choice.message.content is not None
    assert choice.message.content.startswith("(simulated answer) You wrote: “It is A-100.”")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    again = client.chat.completions.create(model="gpt-5-mini", messages=QUESTION)
    assert again.choices[0].message.content == choice.message.content
    entry = sandbox.log("chat_completion")[0]
    assert entry["path"] == "/v1/chat/completions"
    assert entry["body"]["messages"][0]["content"] == "Be kind."
    assert "sk-anything" not in str(sandbox.log())


def test_a_short_limit_cuts_the_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=QUESTION, max_tokens=4)
    assert answer.choices[0].finish_reason == "length"


def test_an_answer_can_be_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="m", messages=QUESTION).choices[0].message.content
    chunks = list(
        client.chat.completions.create(
            model="m", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None


def test_json_can_be_asked_for(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=QUESTION, response_format={"type": "json_object"})
    assert '"simulated":true' in (answer.choices[0].message.content or "")


def test_errors_have_openais_shape(client: openai.OpenAI, sandbox: Sandbox) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="m", messages=[])
    assert bad.value.param == "messages"
    with pytest.raises(openai.NotFoundError):
        client.post("/nowhere", cast_to=object)
    missing = sandbox.session.post(f"{sandbox.url}/v1/chat/completions", json={})
    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "invalid_api_key")
    broken = sandbox.session.post(
        f"{sandbox.url}/v1/chat/completions", data=b"{", headers={"Authorization": "Bearer x"}
    )
    assert broken.status_code == 400


def test_faults_apply(client: openai.OpenAI, sandbox: Sandbox) -> None:
    sandbox.fault(match={"kind": "chat_completion"}, action={"status": 429, "headers": {"Retry-After": "1"}}, times=1)
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model="m", messages=QUESTION)
    assert limited.value.code == "rate_limit_exceeded"
    assert limited.value.response.headers["Retry-After"] == "1"
    for moment in ("before", "after"):
        sandbox.fault(match={"kind": "chat_completion"}, action={"drop": moment}, times=1)
        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(model="m", messages=QUESTION)
    client.chat.completions.create(model="m", messages=QUESTION)


def test_audio_is_transcribed_and_says_it_is_not(client: openai.OpenAI, sandbox: Sandbox) -> None:
    voice = ("voice.ogg", b"OggS" + b"0" * 20_000, "audio/ogg")
    plain = client.audio.transcriptions.create(file=voice, model="gpt-transcribe", language="en")
    assert plain.text.startswith("(simulated transcript) voice.ogg")
    verbose = client.audio.transcriptions.create(file=voice, model="whisper-1", response_format="verbose_json")
    assert verbose.duration > 1 and verbose.segments
    text = client.audio.transcriptions.create(file=voice, model="whisper-1", response_format="text")
    assert "simulated transcript" in str(text)
    srt = client.audio.transcriptions.create(file=voice, model="whisper-1", response_format="srt")
    assert str(srt).startswith("1\n00:00:00,000 -->")
    assert sandbox.log("transcription")[0]["body"]["file"] == "voice.ogg"


@pytest.mark.parametrize("file", [("voice.opus", b"x", "audio/ogg"), ("voice.ogg", b"", "audio/ogg")])
def test_what_is_no_audio_is_refused(client: openai.OpenAI, file: Any) -> None:
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(file=file, model="whisper-1")


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert "sandbox-chat" in [model.id for model in client.models.list()]
