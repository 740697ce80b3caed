"""Files from addresses that people give: only public ones, so that nobody reads the network behind this system."""

from collections.abc import Iterator
from contextlib import contextmanager

from requests_hardened.ip_filter import InvalidIPAddress

from crm_tasks.config import settings
from crm_tasks.core.errors import Permanent, Transient
from crm_tasks.providers import http, outbound
from crm_tasks.providers.http import Download, NoAnswer, NotSent


@contextmanager
def opened(url: str) -> Iterator[Download]:
    """Open a link. A redirect is not followed: what it leads to was not what was given.

    Raises:
        Transient: it may work later. Permanent: it is no public address, or there is nothing.
    """
    if why := outbound.problem(url):  # it was checked when it was given, perhaps under other settings
        raise Permanent(f"the link cannot be opened: {why}", code="private_address")
    headers = {"Accept-Encoding": "identity"}
    try:
        with http.download(url, timeout=settings().file_timeout, session=outbound.session(), headers=headers) as answer:
            _check(answer)
            yield answer
    except (NotSent, NoAnswer) as error:
        if str(error) == InvalidIPAddress.__name__:
            raise Permanent("the link does not lead to a public address", code="private_address") from None
        raise Transient(f"the link did not answer: {error}", code="link_no_answer") from None


def _check(answer: Download) -> None:
    if 300 <= answer.status < 400:
        raise Permanent("the link leads elsewhere; give the address that it leads to", code="link_redirects")
    if answer.status in (408, 425, 429) or answer.status >= 500:
        raise Transient(f"the link answered {answer.status}", code="link_failed")
    if answer.status != 200:
        raise Permanent(f"the link answered {answer.status}", code="link_refused")
