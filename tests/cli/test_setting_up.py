"""`crm workspace`, `channel`, `key` and `user`: setting a business up, without showing a secret that is kept."""

import json
import uuid
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from crm_tasks.core import db
from crm_tasks.messages.channel_schemas import dump_standing
from crm_tasks.messages.service import channels
from crm_tasks.workspaces import service
from crm_tasks.workspaces.models import Channel, User
from tests.cli.terminal import complaint, data, ids, run, said
from tests.core.ledger import execute
from tests.fixtures import Demo, make_demo
from tests.messages.apply import one

CHANNEL = (
    *("--name", "Shop", "--phone-number-id", "777", "--waba-id", "9777", "--token", "the-token"),
    *("--app-secret", "the-secret", "--verify-token", "the-verify", "--base-url", "http://127.0.0.1:8900"),
)


def test_a_business_is_set_up_from_nothing(empty: None) -> None:
    assert "crm workspace add NAME" in said("workspace", "list")
    assert "`crm workspace add NAME` makes one." in complaint("channel", "list")
    workspace = data("workspace", "add", "Shop", "--region", "de")
    channel = data("channel", "add", "--kind", "whatsapp", *CHANNEL)
    key = data("key", "create", "site")
    assert channel["workspace_id"] == workspace["id"]
    with db.transaction() as session:
        found = service.key_of(session, key["api_key"])
        assert found is not None
        assert (str(found.workspace_id), found.operator) == (workspace["id"], False)
    assert [each["region"] for each in data("workspace", "list")] == ["DE"]


def test_a_channel_is_added_with_all_its_fields_and_shows_no_secret(demo: Demo) -> None:
    shown = data("channel", "add", "--kind", "whatsapp", *CHANNEL, "--unknown-policy", "resend")
    assert {
        key: shown[key] for key in ("kind", "name", "phone_number_id", "waba_id", "base_url", "unknown_policy")
    } == {
        "kind": "whatsapp",
        "name": "Shop",
        "phone_number_id": "777",
        "waba_id": "9777",
        "base_url": "http://127.0.0.1:8900",
        "unknown_policy": "resend",
    }
    kept = one(Channel, Channel.phone_number_id == "777")
    assert kept.credentials == {
        "access_token": "the-token",
        "app_secrets": ["the-secret"],
        "verify_token": "the-verify",
    }
    ((raw,),) = execute("SELECT credentials FROM channels WHERE phone_number_id = '777'")
    for secret in ("the-token", "the-secret", "the-verify"):
        assert secret not in str(shown) + said("channel", "list")
        assert secret.encode() not in bytes(raw)


def test_secrets_of_a_channel_can_come_from_the_environment(demo: Demo) -> None:
    env = {"CHANNEL_TOKEN": "t", "CHANNEL_APP_SECRET": "s", "CHANNEL_VERIFY_TOKEN": "v"}
    said("channel", "add", "--name", "Shop", "--phone-number-id", "777", env=env)
    assert one(Channel, Channel.phone_number_id == "777").credentials["access_token"] == "t"


def test_a_channel_of_another_kind_is_added_with_what_it_needs(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of-the-callbacks\n")
    options = (
        "--set",
        "token=the-token",
        "--set",
        f"callback-secret=@{tmp_path / 'secret'}",
        "--set",
        "idempotent=true",
    )
    shown = data(
        "channel", "add", "--kind", "sms", "--name", "SMS", "--base-url", "https://sms.example.test/", *options
    )
    assert (shown["kind"], shown["base_url"], shown["settings"]) == (
        "sms",
        "https://sms.example.test",
        {"idempotent": "true"},
    )
    kept = one(Channel, Channel.kind == "sms")
    assert kept.credentials == {"token": "the-token", "callback_secret": "of-the-callbacks"}
    assert "the-token" not in str(shown) + said("channel", "list")
    assert "  token: This is needed. The bearer token" in complaint("channel", "add", "--kind", "sms", "--name", "SMS")
    assert "  nonsense: A channel of kind sms has no such value." in complaint(
        "channel", "add", "--kind", "sms", "--name", "SMS", "--set", "token=t", "--set", "nonsense=1"
    )


def test_the_kinds_say_what_they_need(empty: None) -> None:
    lines = {tuple(line.split()[:2]) for line in said("channel", "kinds").splitlines()}
    assert {
        ("sms", "token"),
        ("sms", "(callback_secret)"),
        ("twilio", "account_sid"),
        ("whatsapp", "(waba_id)"),
    } <= lines


def test_a_channel_that_cannot_be_reached_or_asked_says_so(demo: Demo) -> None:
    result = run("channel", "check", demo.channel_id)
    assert (result.exit_code, "no answer" in result.output) == (1, True)
    sms = data("channel", "add", "--kind", "sms", "--name", "SMS", "--set", "token=t")
    assert "cannot be asked" in complaint("channel", "check", sms["id"])


def test_a_number_has_one_channel(demo: Demo) -> None:
    said("channel", "add", *CHANNEL)
    assert complaint("channel", "add", *CHANNEL) == "crm: The number 777 belongs to a channel already.\n"


def test_every_wrong_field_is_named(demo: Demo) -> None:
    wrong = ("--name", " ", "--phone-number-id", "", "--token", "t", "--app-secret", "s", "--verify-token", "v")
    text = complaint("channel", "add", *wrong, "--base-url", "ftp://x")
    assert "  name: This is needed.\n  phone_number_id: This is needed. The id of the business number.\n" in text
    assert "  base_url: Must begin with https://" in text


def test_an_app_secret_is_exchanged_while_both_are_good(demo: Demo) -> None:
    text = said("channel", "rotate-secret", demo.channel_id, "--app-secret", "newer")
    assert "2 app secrets" in text
    assert one(Channel).credentials["app_secrets"] == ["newer", demo.app_secret]
    said("channel", "rotate-secret", demo.channel_id, "--app-secret", "newest")
    assert one(Channel).credentials["app_secrets"] == ["newest", "newer"]
    assert "no channel" in complaint("channel", "rotate-secret", uuid.uuid4(), "--app-secret", "x")


def test_an_access_token_is_replaced(demo: Demo) -> None:
    text = said("channel", "rotate-credentials", demo.channel_id, "--set", "access_token= newer ")
    assert "newer" not in text
    assert one(Channel).credentials["access_token"] == "newer"
    assert one(Channel).credentials["app_secrets"] == [demo.app_secret]
    assert "This is empty." in complaint("channel", "rotate-credentials", demo.channel_id, "--set", "access_token= ")


def test_limits_of_a_channel_are_set_and_it_is_shown_as_by_the_api(demo: Demo) -> None:
    text = said("channel", "set", demo.channel_id, "per_second=40", "unique_per_day=1000", "portfolio_id=7")
    assert text == "Number: per_second=40.0, unique_per_day=1000, portfolio_id=7\n"
    said("channel", "set", demo.channel_id, "unique_per_day=", "--name", "Shop", "--unknown-policy", "resend")
    found = json.loads(said("channel", "show", demo.channel_id))
    with db.transaction() as session:
        (standing,) = channels.standing(session, [session.get_one(Channel, demo.channel_id)])
        assert found == dump_standing(standing)
    assert (found["name"], found["unknown_policy"]) == ("Shop", "resend")
    assert found["settings"] == {"per_second": 40.0, "portfolio_id": "7"}
    assert (found["state"]["breaker"]["state"], found["state"]["pace"]["per_second"]) == ("closed", 40.0)


def test_a_wrong_limit_of_a_channel_is_refused(demo: Demo) -> None:
    for wrong in ("per_second=fast", "per_second=0", "unique_per_day=1.5", "nonsense=1"):
        assert f"  settings.{wrong.split('=')[0]}: " in complaint("channel", "set", demo.channel_id, wrong)
    assert "Say what to change" in complaint("channel", "set", demo.channel_id, code=2)
    assert "There is no channel" in complaint("channel", "show", uuid.uuid4())


def test_with_several_workspaces_one_must_be_named(demo: Demo) -> None:
    other = make_demo(number="20002", name="Other")
    assert "There are several workspaces." in complaint("channel", "list")
    assert str(other.channel_id) in said("channel", "list", "--workspace", other.workspace_id)
    assert "There is no workspace" in complaint("key", "list", "--workspace", uuid.uuid4())


def test_keys_are_made_listed_and_revoked(demo: Demo) -> None:
    secret = said("key", "create", "site", "--operator").strip()
    assert secret.startswith("crm_")
    newest = data("key", "list")[-1]
    assert (newest["name"], newest["prefix"], newest["revoked_at"]) == ("site", secret[:12], None)
    assert secret not in said("key", "list")
    assert "site (" in said("key", "revoke", newest["id"])
    with db.transaction() as session:
        assert service.key_of(session, secret) is None
    assert "There is no API key" in complaint("key", "revoke", uuid.uuid4())


def test_an_encryption_key_is_new_each_time_and_can_be_rotated_to(demo: Demo) -> None:
    first, second = said("key", "encryption"), said("key", "encryption")
    assert first != second
    ((before,),) = execute("SELECT credentials FROM channels")
    assert said("key", "rotate") == "1 channels and 0 webhook endpoints are encrypted with the first key.\n"
    ((after,),) = execute("SELECT credentials FROM channels")
    assert bytes(before) != bytes(after)
    assert one(Channel).credentials["access_token"] == demo.access_token


def test_automatic_answers_are_switched(demo: Demo) -> None:
    assert said("workspace", "auto-reply", "on") == "Automatic answers in Demo are on.\n"
    assert data("workspace", "list")[0]["auto_reply_since"]
    said("workspace", "auto-reply", "off")
    assert data("workspace", "list")[0]["auto_reply_since"] is None


@pytest.mark.parametrize("name", ["", "  "])
def test_a_workspace_needs_a_name(empty: None, name: str) -> None:
    assert "  name: Write a name." in complaint("workspace", "add", name)


def test_a_region_is_a_country(empty: None) -> None:
    assert "Use an ISO code such as US or DE." in complaint("workspace", "add", "Shop", "--region", "Europe")


def test_people_are_added_with_a_password_that_is_shown_once(demo: Demo) -> None:
    text = said("user", "add", "Ann@Example.test")
    user = one(User)
    assert user.email == "ann@example.test"
    password = text.split()[-1]
    assert PasswordHasher().verify(user.password, password)
    assert password not in said("user", "list")
    assert "There is a user ann@example.test already." in complaint("user", "add", "ann@example.test")
    again = said("user", "password", "ann@example.test").split()[-1]
    assert PasswordHasher().verify(one(User).password, again)
    said("user", "disable", "ann@example.test")
    assert one(User).active is False
    said("user", "enable", "ann@example.test")
    assert one(User).active is True


def test_people_have_roles_in_workspaces_or_run_the_system(demo: Demo) -> None:
    said("user", "add", "ann@example.test", "--role", "agent")
    said("user", "add", "root@example.test", "--operator")
    assert {each["email"]: each["roles"] for each in data("user", "list")} == {
        "ann@example.test": ["agent of Demo"],
        "root@example.test": ["operator"],
    }
    said("user", "role", "ann@example.test", "owner")
    assert "A workspace keeps an owner." in complaint("user", "role", "ann@example.test", "viewer")
    said("user", "role", "root@example.test", "owner")
    said("user", "remove", "ann@example.test")
    assert {each["email"]: each["roles"] for each in data("user", "list")} == {
        "ann@example.test": [],
        "root@example.test": ["operator", "owner of Demo"],
    }
    assert "Nobody has tried" in said("user", "unlock", "ann@example.test")


def test_a_link_invites_and_a_workspace_is_suspended_and_released(demo: Demo) -> None:
    assert "/admin/join/" in said("user", "invite", "bob@example.test", "--role", "viewer")
    assert execute("SELECT email, role FROM invitations") == [("bob@example.test", "viewer")]
    said("workspace", "suspend", "--reason", "not paid")
    assert execute("SELECT scope, reason FROM holds") == [(f"workspace:{demo.workspace_id}", "not paid")]
    assert "suspended already" in complaint("workspace", "suspend", "--reason", "again")
    said("workspace", "release")
    assert execute("SELECT count(*) FROM holds WHERE released_at IS NULL") == [(0,)]
    assert "not suspended" in complaint("workspace", "release")


def test_a_user_must_exist_and_have_an_address(demo: Demo) -> None:
    assert "is not an e-mail address" in complaint("user", "add", "ann")
    assert "There is no user" in complaint("user", "password", "ann@example.test")
    assert "'agent', 'viewer'" in complaint("user", "add", "ann@example.test", "--role", "king", code=2)
    assert ids(said("user", "list")) == []
