"""`POST /v1/audio/transcriptions`: a transcript that says nobody listened."""

from pathlib import PurePath

import orjson
from flask import Response, request

from sandbox.intake import Intake, reply
from sandbox.openai.gate import ProviderError, blueprint, serve

LARGEST = 25 * 1024 * 1024
FORMATS = ("flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "wav", "webm")
ANSWERS = ("json", "text", "srt", "vtt", "verbose_json", "diarized_json")
_BYTES_PER_SECOND = 4000


@blueprint.post("/audio/transcriptions")
def transcriptions() -> Response:
    """Answer a transcription."""
    file = request.files.get("file")
    data = file.read() if file else b""
    name = (file.filename or "") if file else ""
    form = {key: value for key, value in request.form.items() if len(value) < 1000}
    noted = orjson.dumps(form | {"file": name, "size": len(data)})
    return serve("transcription", noted, lambda intake: _transcribe(name, data, intake))


def _transcribe(name: str, data: bytes, intake: Intake) -> Response:
    if not request.form.get("model"):
        raise ProviderError(400, "you must provide a model parameter", param="model")
    if not data:
        raise ProviderError(400, "A file that is not empty is required.", param="file")
    if len(data) > LARGEST:
        raise ProviderError(413, f"Maximum content size limit ({LARGEST}) exceeded ({len(data)} bytes read)")
    if PurePath(name).suffix.lower().lstrip(".") not in FORMATS:
        raise ProviderError(400, f"Unrecognized file format. Supported formats: {list(FORMATS)}", param="file")
    form = request.form.get("response_format") or "json"
    if form not in ANSWERS:
        raise ProviderError(400, f"response_format must be one of {', '.join(ANSWERS)}", param="response_format")
    seconds = round(max(1.0, len(data) / _BYTES_PER_SECOND), 2)
    text = f"(simulated transcript) {name}, {len(data)} bytes of audio. No speech recognition took place."
    return _shaped(form, text, seconds)


def _shaped(form: str, text: str, seconds: float) -> Response:
    usage = {"type": "duration", "seconds": max(1, round(seconds))}
    segment = {"id": 0, "start": 0.0, "end": seconds, "text": text}
    if form == "text":
        return Response(f"{text}\n", mimetype="text/plain")
    if form in ("srt", "vtt"):
        point = "," if form == "srt" else "."
        end = f"{int(seconds // 3600):02}:{int(seconds // 60) % 60:02}:{int(seconds) % 60:02}{point}000"
        lines = f"00:00:00{point}000 --> {end}\n{text}\n\n"
        return Response(f"1\n{lines}" if form == "srt" else f"WEBVTT\n\n{lines}", mimetype="text/plain")
    answer: dict[str, object] = {"text": text, "usage": usage}
    if form == "verbose_json":
        more = {"avg_logprob": 0.0, "compression_ratio": 1.0, "no_speech_prob": 0.0}
        more |= {"seek": 0, "temperature": 0.0, "tokens": []}  # type: ignore[dict-item]
        answer |= {"task": "transcribe", "language": "english", "duration": seconds, "segments": [segment | more]}
    elif form == "diarized_json":
        spoken = segment | {"id": "seg_0", "speaker": "A", "type": "transcript.text.segment"}
        answer |= {"task": "transcribe", "duration": seconds, "segments": [spoken]}
    return reply(200, orjson.dumps(answer))
