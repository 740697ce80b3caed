"""What people may do: one table of roles and permissions. A role is held in a workspace; operators stand above them."""

from enum import StrEnum


class MemberRole(StrEnum):
    """What somebody is in a workspace."""

    OWNER = "owner"
    ADMIN = "admin"
    MARKETER = "marketer"
    AGENT = "agent"
    VIEWER = "viewer"


class Permission(StrEnum):
    """What a page or a button needs."""

    LOOK = "look"  # see how the workspace does
    PERSONAL = "personal"  # see what is about single customers
    EDIT = "edit"  # change what is kept of single customers
    ACKNOWLEDGE = "acknowledge"  # mark notifications as read, for everybody
    EXPORT = "export"  # take data out, of many customers at once
    BROADCAST = "broadcast"  # write, start and stop campaigns; whom they reach: segments, imports, many at once
    ANSWER = "answer"  # write single messages, and decide about them
    REPAIR = "repair"  # retry, discard, cancel, hold
    MANAGE = "manage"  # settings, people, who changed what; erase and delete customers
    OWN = "own"  # make and unmake owners
    OPERATE = "operate"  # the whole system: every workspace, what belongs to none


# Flask-Security's name of those who run the system; it is not held in a workspace.
OPERATOR = "operator"

_WORK = {Permission.LOOK, Permission.PERSONAL, Permission.EDIT, Permission.ACKNOWLEDGE}
_ADMIN = {*_WORK, Permission.EXPORT, Permission.BROADCAST, Permission.ANSWER, Permission.REPAIR, Permission.MANAGE}
PERMISSIONS: dict[MemberRole, frozenset[Permission]] = {
    MemberRole.OWNER: frozenset({*_ADMIN, Permission.OWN}),
    MemberRole.ADMIN: frozenset(_ADMIN),
    MemberRole.MARKETER: frozenset({*_WORK, Permission.EXPORT, Permission.BROADCAST}),
    MemberRole.AGENT: frozenset({*_WORK, Permission.ANSWER}),
    MemberRole.VIEWER: frozenset({Permission.LOOK}),
}
DESCRIPTIONS: dict[MemberRole, str] = {
    MemberRole.OWNER: "May do everything here, and name other owners",
    MemberRole.ADMIN: "May do everything here but change owners",
    MemberRole.MARKETER: "Imports and exports contacts, makes segments, writes, starts and stops campaigns",
    MemberRole.AGENT: "Sees customers, answers them and decides about their messages",
    MemberRole.VIEWER: "Looks, and sees nothing about single customers",
}


def permissions(role: MemberRole | None, *, operator: bool) -> frozenset[Permission]:
    """Return what somebody may do in a workspace; an operator may do everything in each."""
    if operator:
        return frozenset(Permission)
    return PERMISSIONS[role] if role else frozenset()
