"""Lists in pages: `limit`, `after` and `before` in, `paging` with cursors out."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from urllib.parse import urlencode

from sandbox.errors import GraphError
from sandbox.fields import Json
from sandbox.graph.call import Call

DEFAULT = 25
MOST = 1000


def page(call: Call, items: list[Json]) -> Json:
    """Return one page of a list as the query asks for it."""
    limit = _limit(call)
    after, before = call.query("after"), call.query("before")
    start = _place(after) if after else 0
    if before:
        start = max(0, _place(before) - limit)
        limit = min(limit, _place(before))
    end = min(start + limit, len(items))
    answer: Json = {"data": items[start:end]}
    if items[start:end]:
        answer["paging"] = {"cursors": {"before": _cursor(start), "after": _cursor(end)}}
        if end < len(items):
            answer["paging"]["next"] = _address(call, after=_cursor(end))
        if start:
            answer["paging"]["previous"] = _address(call, before=_cursor(start))
    return answer


def only(call: Call, item: Json, always: tuple[str, ...] = ("id",)) -> Json:
    """Return the fields the query asks for; all of them when it asks for none."""
    fields = call.query("fields")
    if not fields:
        return item
    wanted = {field.split("{")[0].strip() for field in fields.split(",")}
    return {key: value for key, value in item.items() if key in wanted or key in always}


def _limit(call: Call) -> int:
    text = call.query("limit") or str(DEFAULT)
    if not text.isdigit() or int(text) < 1:
        raise GraphError(100, message="(#100) Param limit must be a number greater than 0.")
    return min(int(text), MOST)


def _address(call: Call, **changes: str) -> str:
    kept = {key: value for key, value in call.request.args.items() if key not in ("after", "before", "access_token")}
    return f"{call.request.base_url}?{urlencode(kept | changes)}"


def _cursor(place: int) -> str:
    return urlsafe_b64encode(f"cursor:{place}".encode()).decode()


def _place(cursor: str) -> int:
    try:
        name, _, place = urlsafe_b64decode(cursor.encode()).decode().partition(":")
    except ValueError:
        name, place = "", ""
    if name != "cursor" or not place.isdigit():
        raise GraphError(100, message="(#100) Invalid cursor.")
    return int(place)
