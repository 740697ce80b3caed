"""A dialogue with a mail server, whatever it says and wherever it breaks off."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from crm_tasks.providers.mail import smtp
from crm_tasks.providers.mail.smtp import Security, Server
from crm_tasks.providers.provider import Accepted, Action, Refusal, Result, Unknown
from tests.harness import free_ports
from tests.providers.mails import ID, composed
from tests.providers.mailserver import MailServer, mail_server
from tests.providers.servers import certificate


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    return certificate(tmp_path_factory.mktemp("tls"))


def send(server: MailServer, *, timeout: float = 5.0, mail: dict[str, Any] | None = None, **how: Any) -> Result:
    how = {"security": Security.NONE, **how}
    return smtp.send(Server("127.0.0.1", server.port, **how), composed(**(mail or {})), timeout=timeout)


def no(result: Result) -> Refusal:
    assert isinstance(result, Refusal), result
    return result


# --- a server that is one ----------------------------------------------------------------------------------------


class _Keeper:
    def __init__(self) -> None:
        self.taken: list[Envelope] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        self.taken.append(envelope)
        return "250 2.0.0 taken"


def _login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"shop", b"secret")
    return AuthResult(success=right, handled=False)


@pytest.fixture
def real(tls: tuple[ssl.SSLContext, str]) -> Iterator[tuple[Server, _Keeper]]:
    keeper, (port,) = _Keeper(), free_ports(1)
    running = Controller(
        keeper, hostname="127.0.0.1", port=port, tls_context=tls[0], auth_required=True, authenticator=_login
    )
    running.start()
    yield Server("127.0.0.1", port, Security.STARTTLS, "shop", "secret", tls[1]), keeper
    running.stop()


def test_a_mail_arrives_whole_over_starttls_and_a_login(real: tuple[Server, _Keeper]) -> None:
    server, keeper = real
    mail = composed(return_path="bounces@example.com", text="one\n.two\n..three")
    assert smtp.send(server, mail) == Accepted(str(ID))
    (taken,) = keeper.taken
    assert (taken.mail_from, taken.rcpt_tos) == (f"bounces+{ID.hex}@example.com", ["ann@example.net"])
    assert taken.original_content == mail.data


def test_a_wrong_password_stops_the_channel_and_is_not_in_the_reason(real: tuple[Server, _Keeper]) -> None:
    server, keeper = real
    wrong = Server(server.host, server.port, server.security, "shop", "hunter2", server.cafile)
    refusal = no(smtp.send(wrong, composed()))
    assert (refusal.action, refusal.code) == (Action.STOP, 535)
    assert "hunter2" not in f"{refusal} {wrong}"
    assert keeper.taken == []


# --- encryption --------------------------------------------------------------------------------------------------


def test_tls_from_the_first_byte(tls: tuple[ssl.SSLContext, str]) -> None:
    with mail_server(tls=tls[0], implicit=True) as server:
        assert isinstance(send(server, security=Security.TLS, cafile=tls[1]), Accepted)


@pytest.mark.parametrize(("security", "implicit"), [(Security.STARTTLS, False), (Security.TLS, True)])
def test_a_certificate_that_nobody_vouches_for_stops_the_channel(
    tls: tuple[ssl.SSLContext, str], security: Security, implicit: bool
) -> None:
    with mail_server(tls=tls[0], implicit=implicit) as server:
        refusal = no(send(server, security=security, user="shop", password="secret"))
    assert refusal.action is Action.STOP
    assert "certificate" in refusal.message
    assert not [said for said in server.commands if said.startswith(("AUTH", "MAIL"))]


def test_a_server_without_starttls_gets_neither_password_nor_mail() -> None:
    with mail_server() as server:
        refusal = no(send(server, security=Security.STARTTLS, user="shop", password="secret"))
    assert refusal.action is Action.STOP
    assert [said.split()[0].upper() for said in server.commands] == ["EHLO", "QUIT"]


# --- what it says ------------------------------------------------------------------------------------------------

REPLIES = [
    ("connect", "421 4.3.2 later", Action.RETRY, None),
    ("connect", "554 5.3.2 no service", Action.STOP, None),
    ("AUTH", "454 4.7.0 later", Action.RETRY, None),
    ("AUTH", "535 5.7.8 wrong", Action.STOP, None),
    ("AUTH", "534 5.7.9 too weak", Action.STOP, None),
    ("MAIL", "451 4.3.0 later", Action.RETRY, None),
    ("MAIL", "530 5.7.0 log in", Action.STOP, None),
    ("MAIL", "550 5.7.1 not your address", Action.STOP, None),
    ("MAIL", "553 5.1.8 no such domain", Action.STOP, None),
    ("MAIL", "552 5.3.4 too big", Action.MESSAGE, None),
    ("MAIL", "552 too big", Action.MESSAGE, None),
    ("RCPT", "450 4.2.0 greylisted", Action.RETRY, None),
    ("RCPT", "451 try later", Action.RETRY, None),
    ("RCPT", "452 4.2.2 full for now", Action.RETRY, None),
    ("RCPT", "421 4.7.0 too many", Action.RETRY, None),
    ("RCPT", "550 5.1.1 unknown", Action.PERSON, "bounced"),
    ("RCPT", "550 unknown", Action.PERSON, "bounced"),
    ("RCPT", "551 5.1.6 moved", Action.PERSON, "bounced"),
    ("RCPT", "553 5.1.3 not so", Action.PERSON, "bounced"),
    ("RCPT", "556 5.1.10 null MX", Action.PERSON, "bounced"),
    ("RCPT", "550 5.1.99 new code", Action.PERSON, "bounced"),
    ("RCPT", "550 5.2.1 disabled", Action.PERSON, "disabled"),
    ("RCPT", "552 5.2.2 full", Action.RETRY, "full"),
    ("RCPT", "552 full", Action.RETRY, "full"),
    ("RCPT", "550 5.7.1 policy", Action.MESSAGE, None),
    ("RCPT", "554 refused", Action.MESSAGE, None),
    ("RCPT", "550 5.1.8 your domain", Action.STOP, None),
    ("DATA", "451 4.3.0 later", Action.RETRY, None),
    ("DATA", "554 5.7.1 spam", Action.MESSAGE, None),
    ("dot", "451 4.7.1 greylisted", Action.RETRY, None),
    ("dot", "552 5.3.4 too big", Action.MESSAGE, None),
    ("dot", "552 5.2.2 full", Action.RETRY, "full"),
    ("dot", "554 5.7.1 spam", Action.MESSAGE, None),
    ("dot", "550 5.1.1 unknown", Action.PERSON, "bounced"),
    ("dot", "550 looks like spam", Action.MESSAGE, None),
    ("dot", "599 what", Action.MESSAGE, None),
]


@pytest.mark.parametrize(("moment", "reply", "action", "verdict"), REPLIES, ids=lambda value: str(value))
def test_every_reply_has_a_meaning(moment: str, reply: str, action: Action, verdict: str | None) -> None:
    with mail_server(replies={moment: reply}) as server:
        refusal = no(send(server, user="shop", password="secret"))
    assert (refusal.action, refusal.verdict, refusal.code) == (action, verdict, int(reply[:3]))
    assert "ann@" not in refusal.message


def test_a_server_that_knows_bounces_is_told_the_message() -> None:
    with mail_server() as server:
        send(server)
    (said,) = [said for said in server.commands if said.upper().startswith("MAIL")]
    assert f"ENVID={ID}" in said and "RET=HDRS" in said and "SIZE=" in said


# --- where it breaks off -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["connect", "EHLO", "AUTH", "MAIL", "RCPT", "DATA"])
def test_cut_before_the_final_dot_it_may_be_tried_again(moment: str) -> None:
    with mail_server(cut=moment) as server:
        assert no(send(server, user="shop", password="secret")).action is Action.RETRY
    assert server.received == []


def test_cut_within_the_message_it_may_be_tried_again() -> None:
    with mail_server(cut="body") as server:
        result = send(server, mail={"text": ("x" * 70 + "\n") * 200_000})
    assert no(result).action is Action.RETRY
    assert server.received == []


def test_cut_after_the_final_dot_nobody_knows() -> None:
    with mail_server(cut="dot") as server:
        assert isinstance(send(server), Unknown)
    assert len(server.received) == 1


@pytest.mark.parametrize("reply", ["not a code", "25", "\x00\xff"])
def test_nonsense_after_the_final_dot_is_not_a_reply(reply: str) -> None:
    with mail_server(replies={"dot": reply}) as server:
        assert isinstance(send(server), Unknown)


@pytest.mark.parametrize(("moment", "expected"), [("RCPT", Refusal), ("dot", Unknown), ("connect", Refusal)])
def test_a_reply_that_trickles_ends_at_the_deadline(moment: str, expected: type) -> None:
    with mail_server(trickle=moment) as server:
        result = send(server, timeout=0.7)
    assert isinstance(result, expected)
    assert "Timeout" in (result.message if isinstance(result, Refusal) else result.reason)  # type: ignore[union-attr]


def test_a_goodbye_that_fails_changes_nothing() -> None:
    with mail_server(cut="QUIT") as server:
        assert isinstance(send(server), Accepted)


def test_nobody_there_is_tried_again() -> None:
    server = MailServer(port=free_ports(1)[0])
    assert no(send(server)).action is Action.RETRY


def test_a_name_that_does_not_exist_is_tried_again() -> None:
    assert no(smtp.send(Server("nobody.invalid", 25, Security.NONE), composed())).action is Action.RETRY


def test_a_server_without_any_way_to_log_in_that_we_know_stops_the_channel(tmp_path: Path) -> None:
    with mail_server(offers=("AUTH GSSAPI",)) as server:
        assert no(send(server, user="shop", password="secret")).action is Action.STOP


# --- a look, without sending -------------------------------------------------------------------------------------


def test_a_check_goes_as_far_as_the_login_and_sends_nothing(real: tuple[Server, _Keeper]) -> None:
    server, keeper = real
    found = smtp.check(server)
    assert (found.ok, "login" in found.said, keeper.taken) == (True, True, [])
    wrong = smtp.check(replace(server, password="of another"))
    assert (wrong.ok, "logging in" in wrong.said, "of another" in wrong.said) == (False, True, False)


def test_a_check_says_that_nobody_is_there() -> None:
    found = smtp.check(Server("127.0.0.1", 9, Security.NONE))
    assert (found.ok, "no connection while connecting" in found.said) == (False, True)
