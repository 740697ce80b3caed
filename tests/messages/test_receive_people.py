"""Who wrote: people are found by any of their names, and a name that moves takes nobody else along."""

import pytest

from crm_tasks.messages.models import InboundEvent, Message
from tests import payloads
from tests.fixtures import Demo, make_demo
from tests.messages.apply import conversations, hear, kept, one, people, rows, tell
from tests.payloads import NOON, contact, message, told

OLD, NEW = "15550001111", "15550009999"
BSUID, PARENT, LATER = "US.13491208655302741918", "US.ENT.11815799212886844830", "US.20837465019283746501"


def moved(at: int = NOON, *, old: str = OLD, new: str = NEW, **system: str) -> payloads.Json:
    """Return the note that a person has another number."""
    note = {"type": "user_changed_number", "body": "User changed", "wa_id": new, **system}
    return message(old, type="system", system=note, at=at)


def rotated(demo: Demo, previous: str, current: str, wa_id: str | None = OLD, at: int = NOON) -> payloads.Json:
    """Return the webhook that a person has another user id."""
    update = {"user_id": {"previous": previous, "current": current}, "timestamp": str(at)}
    if wa_id:
        update["wa_id"] = wa_id
    return payloads.envelope(payloads.change(demo, {"user_id_update": [update]}, "user_id_update"))


# --- names -------------------------------------------------------------------------------------------------------


def test_a_person_has_a_number_with_and_without_plus(demo: Demo) -> None:
    hear(demo, message(OLD))
    assert [(each["name"], each["names"]) for each in people()] == [("Ann", [f"+{OLD}", OLD])]


def test_contacts_are_matched_by_name_and_not_by_place(demo: Demo) -> None:
    senders = [contact("15550002222", name="Bo"), contact(OLD, name="Ann"), contact("15550003333", name="Cy")]
    hear(demo, message(OLD), message("15550002222"), contacts=senders)
    assert {each["names"][1]: each["name"] for each in people()} == {OLD: "Ann", "15550002222": "Bo"}


def test_contacts_may_be_missing(demo: Demo) -> None:
    hear(demo, message(OLD), contacts=[])
    assert [each["name"] for each in people()] == [None]


def test_a_person_without_number_is_known_by_its_user_id(demo: Demo) -> None:
    first = message(None, from_user_id=BSUID, from_parent_user_id=PARENT)
    second = message(None, from_user_id=BSUID)
    hear(demo, first, second, contacts=[contact(user_id=BSUID, name="Pablo", username="@pablo")])
    assert [(each["name"], each["names"]) for each in people()] == [("Pablo", [BSUID, PARENT])]
    assert len(conversations()) == 1


@pytest.mark.parametrize("also", [{}, {"from_user_id": BSUID}])
def test_a_user_id_where_the_number_was_is_no_number(demo: Demo, also: dict) -> None:
    hear(demo, message(BSUID, **also), contacts=[])
    assert [each["names"] for each in people()] == [[BSUID]]


def test_a_user_id_is_learnt_from_the_contacts_list(demo: Demo) -> None:
    hear(demo, message(OLD), contacts=[contact(OLD, BSUID)])
    hear(demo, message(None, from_user_id=BSUID), contacts=[])
    assert [each["names"] for each in people()] == [[f"+{OLD}", OLD, BSUID]]


def test_people_of_two_workspaces_are_strangers(demo: Demo) -> None:
    other = make_demo(number="20002", name="Other")
    (ours,), (theirs,) = hear(demo, message(OLD)), hear(other, message(OLD))
    assert ours.contact_id != theirs.contact_id
    assert (ours.workspace_id, theirs.workspace_id) == (demo.workspace_id, other.workspace_id)


def test_the_newest_profile_counts_whenever_it_comes(demo: Demo) -> None:
    hear(demo, message(OLD, at=NOON + 60), contacts=[contact(OLD, name="Anna")])
    hear(demo, message(OLD, at=NOON), contacts=[contact(OLD, name="Ann", username="ann")])
    assert [each["name"] for each in people()] == ["Anna"]


# --- one person, two contacts ------------------------------------------------------------------------------------


def test_two_contacts_that_turn_out_to_be_one_are_flagged_and_not_merged(demo: Demo) -> None:
    (by_number,) = hear(demo, message(OLD), contacts=[])
    (by_id,) = hear(demo, message(None, from_user_id=BSUID), contacts=[])
    (both,) = hear(demo, message(OLD, from_user_id=BSUID), contacts=[])
    assert both.contact_id == by_number.contact_id != by_id.contact_id
    number, user_id = people()
    assert (number["names"], number["duplicate_of"]) == ([f"+{OLD}", OLD, BSUID], None)
    assert (user_id["names"], user_id["duplicate_of"]) == ([], number["id"])
    assert kept(by_id.provider_id or "").contact_id == user_id["id"]
    (after,) = hear(demo, message(None, from_user_id=BSUID), contacts=[])
    assert after.contact_id == number["id"]


# --- another number ----------------------------------------------------------------------------------------------


def test_a_number_change_moves_the_person_and_gives_the_old_number_up(demo: Demo) -> None:
    before, note, after = hear(demo, message(OLD, at=NOON - 60), moved(), message(NEW, at=NOON + 60))
    assert before.contact_id == note.contact_id == after.contact_id
    assert (note.type, note.text) == ("system", "User changed")
    assert [each["names"] for each in people()] == [[f"+{NEW}", NEW, f"[+{OLD}]", f"[{OLD}]"]]


def test_a_number_that_was_given_up_may_become_somebody_elses(demo: Demo) -> None:
    hear(demo, message(OLD, at=NOON - 60), moved())
    (stranger,) = hear(demo, message(OLD, at=NOON + 9_000_000), contacts=[contact(OLD, name="Zoe")])
    ann, zoe = people()
    assert stranger.contact_id == zoe["id"]
    assert (zoe["name"], zoe["names"], zoe["duplicate_of"]) == ("Zoe", [f"+{OLD}", OLD], None)
    assert ann["name"] == "Ann"


def test_an_old_message_from_a_number_given_up_is_still_of_the_person_then(demo: Demo) -> None:
    hear(demo, message(OLD, at=NOON - 60), moved())
    (stranger,) = hear(demo, message(OLD, at=NOON + 9_000_000))
    (late, at_once) = hear(demo, message(OLD, at=NOON - 30), message(OLD, at=NOON))
    assert late.contact_id == at_once.contact_id == people()[0]["id"] != stranger.contact_id


def test_the_same_number_change_again_takes_nothing_from_the_new_owner(demo: Demo) -> None:
    note = moved()
    hear(demo, message(OLD, at=NOON - 60), note)
    hear(demo, message(OLD, at=NOON + 9_000_000))
    before = people()
    tell(demo, told(demo, messages=[note]), told(demo, messages=[note]))
    assert people() == before


def test_a_new_number_of_somebody_else_is_flagged_and_nobody_is_merged(demo: Demo) -> None:
    hear(demo, message(OLD, at=NOON - 60), message(NEW, at=NOON - 60), moved())
    ann, other = people()
    assert (ann["names"], ann["duplicate_of"]) == ([f"[+{OLD}]", f"[{OLD}]"], other["id"])
    assert (other["names"], other["duplicate_of"]) == ([f"+{NEW}", NEW], None)


def test_a_number_change_of_a_person_never_seen_makes_one_contact(demo: Demo) -> None:
    hear(demo, moved())
    assert [each["names"] for each in people()] == [[f"+{NEW}", NEW, f"[+{OLD}]", f"[{OLD}]"]]


def test_a_number_change_may_bring_a_new_user_id_too(demo: Demo) -> None:
    hear(demo, message(OLD, from_user_id=BSUID, at=NOON - 60), moved(user_id=LATER))
    (found,) = hear(demo, message(None, from_user_id=LATER, at=NOON + 60), contacts=[])
    assert found.contact_id == people()[0]["id"]
    assert len(people()) == 1


@pytest.mark.parametrize(
    "system", [{"type": "user_changed_number"}, {"type": "customer_identity_changed"}, {}, None, "x"]
)
def test_a_system_note_that_names_nobody_new_changes_nobody(demo: Demo, system: object) -> None:
    hear(demo, message(OLD, at=NOON - 60))
    before = people()
    hear(demo, message(OLD, type="system", system=system))
    assert people() == before


# --- another user id ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wa_id", [OLD, None])
def test_a_user_id_that_is_exchanged_leads_to_the_same_person(demo: Demo, wa_id: str | None) -> None:
    (before,) = hear(demo, message(OLD, from_user_id=BSUID, at=NOON - 60))
    (event,) = tell(demo, rotated(demo, BSUID, LATER, wa_id))
    assert (event.state, event.problem) == ("done", None)
    (after,) = hear(demo, message(None, from_user_id=LATER, at=NOON + 60), contacts=[])
    assert after.contact_id == before.contact_id
    assert len(people()) == 1


def test_a_user_id_exchange_as_a_system_message_does_the_same(demo: Demo) -> None:
    (before,) = hear(demo, message(OLD, from_user_id=BSUID, at=NOON - 60))
    note = {"type": "user_changed_user_id", "wa_id": OLD, "user_id": LATER, "parent_user_id": PARENT}
    hear(demo, message(OLD, type="system", system=note))
    (after,) = hear(demo, message(None, from_user_id=LATER, at=NOON + 60), contacts=[])
    assert after.contact_id == before.contact_id
    assert people()[0]["names"] == [f"+{OLD}", OLD, BSUID, LATER, PARENT]


def test_a_user_id_exchange_of_a_person_never_seen_is_kept_for_later(demo: Demo) -> None:
    tell(demo, rotated(demo, BSUID, LATER, None))
    (found,) = hear(demo, message(None, from_user_id=LATER), contacts=[])
    assert [each["id"] for each in people()] == [found.contact_id]
    assert one(InboundEvent, InboundEvent.id != found.event_id).state == "done"
    assert len(rows(Message)) == 1


def test_of_two_people_that_an_exchange_may_mean_the_one_with_the_number_is_meant(demo: Demo) -> None:
    (by_number,) = hear(demo, message(OLD, at=NOON - 60), contacts=[])
    (by_id,) = hear(demo, message(None, from_user_id=BSUID, at=NOON - 60), contacts=[])
    tell(demo, rotated(demo, BSUID, LATER, OLD))
    (after,) = hear(demo, message(None, from_user_id=LATER, at=NOON + 60), contacts=[])
    assert after.contact_id == by_number.contact_id != by_id.contact_id
