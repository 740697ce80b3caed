"""The words of an HTML page, for those who read mail without its looks. One pass: a page may be anybody's."""

import re
from html import unescape

_TOKEN = re.compile(r"<[^<>]*>|[^<>]+|[<>]")
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)")
_HREF = re.compile(r"""\shref\s?=\s?("[^"]*"|'[^']*')""", re.IGNORECASE)
_ALT = re.compile(r"""\salt\s?=\s?("[^"]*"|'[^']*')""", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n\f\xa0]+")
_SILENT = {"style", "script", "head", "title", "template", "noscript"}
_BREAKS = {"br": "\n", "tr": "\n", "li": "\n- ", "hr": "\n---\n"}
_BLOCKS = {"p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote", "pre", "section"}


def of_html(html: str) -> str:
    """Return what a page says: paragraphs as lines, links with their address behind them."""
    first, *rest = html.split("<!--")
    words: list[str] = []
    silent, link = "", ""
    for token in _TOKEN.findall(first + "".join(part.partition("-->")[2] for part in rest)):
        tag = _tag(token)
        if silent:
            silent = "" if tag == f"/{silent}" else silent
        elif not tag:
            words.append(_SPACE.sub(" ", unescape(token)))
        elif tag in _SILENT:
            silent = tag
        elif tag == "a":
            link = _value(_HREF, token)
        elif tag == "/a":
            words.append(_address(link, words))
            link = ""
        else:
            words.append(_value(_ALT, token) if tag == "img" else _break(tag))
    lines = (_SPACE.sub(" ", line).strip() for line in "".join(words).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _tag(token: str) -> str:
    """Return the name in a tag, with its slash if it ends one; of a declaration that it is one; nothing of a text."""
    if len(token) < 3 or token[0] != "<":
        return ""
    match = _TAG.match(token)
    return ("/" if token[1] == "/" else "") + match[1].lower() if match else ("!" if token[1] in "!?/" else "")


def _break(tag: str) -> str:
    return _BREAKS.get(tag) or ("\n\n" if tag.removeprefix("/") in _BLOCKS else "")


def _address(link: str, words: list[str]) -> str:
    """Return where a link goes, unless its words say so themselves."""
    if not link.startswith(("http://", "https://", "mailto:")) or (words and link.removeprefix("mailto:") in words[-1]):
        return ""
    return f" ({link})"


def _value(attribute: re.Pattern[str], token: str) -> str:
    match = attribute.search(token)
    return unescape(match[1][1:-1]).strip() if match else ""
