"""What the columns of a file are: guessed from their names, or said by whoever imports it.

A target is `name`, `first_name`, `last_name`, `phone`, `email`, `external_id`, `tags`, `locale`, `time_zone`, `opt_in`,
`opt_in_at`, `opt_in_source`, `attribute:NAME`, `attribute:NAME:TYPE`, or nothing: the column is ignored.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from crm_tasks.contacts.models import AttributeType
from crm_tasks.core.errors import FieldError, Invalid, did_you_mean

IGNORE = "ignore"
TARGETS = (
    *("name", "first_name", "last_name", "phone", "email", "external_id", "tags", "locale", "time_zone"),
    *("opt_in", "opt_in_at", "opt_in_source"),
)
# These may be in several columns: a person can have two numbers.
_SEVERAL = ("phone", "email", "tags")
_LONGEST_NAME = 64
_SYNONYMS = {
    "name": "name fullname contactname nome nombre nom vorname_nachname contact cliente customer displayname",
    "first_name": "firstname givenname primeironome nombres prenom vorname fname",
    "last_name": "lastname surname familyname sobrenome apellido apellidos nomdefamille nachname lname",
    "phone": "phone phonenumber mobile mobilephone mobilenumber cell cellphone tel telephone telefone telefono celular"
    " movil whatsapp whatsappnumber waid msisdn number numero handy telefon portable numerodetelefone",
    "email": "email emailaddress mail correo correoelectronico courriel",
    "external_id": "externalid id customerid contactid userid crmid clientid",
    "tags": "tags tag labels label etiquetas etiqueta groups group",
    "locale": "locale language lang idioma langue sprache",
    "time_zone": "timezone tz fusohorario zonahoraria",
    "opt_in": "optin consent optedin subscribed consentimento",
    "opt_in_at": "optinat optindate consentat consentdate optedinat",
    "opt_in_source": "optinsource consentsource source",
}
_BY_NAME = {word: target for target, words in _SYNONYMS.items() for word in words.split()}


def plain(name: str) -> str:
    """Return a column's name as it is compared: without accents, case, punctuation and space."""
    bare = "".join(each for each in unicodedata.normalize("NFKD", name) if not unicodedata.combining(each))
    return re.sub(r"[\W_]+", "", bare.casefold())


def guess(header: Sequence[str]) -> list[str]:
    """Return what each column seems to be; empty where its name says nothing, or what another column is already."""
    found: list[str] = []
    for name in header:
        target = _BY_NAME.get(plain(name), "")
        found.append("" if target in found and target not in _SEVERAL else target)
    return found


def targets(header: Sequence[str], mapping: Mapping[str, str] | None) -> list[str]:
    """Return the target of each column, as said by name or, without a mapping, as guessed.

    Raises:
        Invalid: a column that the file has not, a target there is not or twice, no column to reach people by.
    """
    if mapping is None:
        found = guess(header)
    else:
        problems = _unknown_columns(header, mapping)
        found = [_target(name, mapping.get(name, IGNORE), problems) for name in header]
        problems += _twice(header, found)
        if problems:
            raise Invalid("The mapping does not fit.", code="bad_mapping", fields=problems)
    if "phone" not in found and "email" not in found:
        remedy = 'Say which column has phone numbers or e-mail addresses, such as {"Tel.": "phone"}.'
        raise Invalid(
            f"No column has phone numbers or e-mail addresses. Columns: {', '.join(header)[:500]}.",
            code="no_address_column",
            fields=[FieldError("mapping", remedy, "no_address_column")],
        )
    return found


def attribute(target: str) -> tuple[str, AttributeType | None] | None:
    """Return name and type of an attribute, if this target is one."""
    kind, _, rest = target.partition(":")
    if kind != "attribute":
        return None
    name, _, type = rest.rpartition(":")
    if name and type in list(AttributeType):
        return name.strip(), AttributeType(type)
    return rest.strip(), None


def _unknown_columns(header: Sequence[str], mapping: Mapping[str, str]) -> list[FieldError]:
    return [
        FieldError(f"mapping.{name}"[:200], f"The file has no such column.{did_you_mean(name, header)}", "no_column")
        for name in mapping
        if name not in header
    ]


def _target(column: str, target: str, problems: list[FieldError]) -> str:
    target = target.strip()
    if target in ("", IGNORE):
        return ""
    if target in TARGETS:
        return target
    named = attribute(target)
    if named is not None and 0 < len(named[0]) <= _LONGEST_NAME and named[0].isprintable():
        return target
    if named is not None:
        remedy = f"Give the attribute a name of 1 to {_LONGEST_NAME} printable characters."
    else:
        hint = did_you_mean(target, TARGETS)
        remedy = f"There is no target {target[:80]!r}.{hint} Use {', '.join(TARGETS)}, attribute:NAME or ignore."
    problems.append(FieldError(f"mapping.{column}"[:200], remedy, "bad_target"))
    return ""


def _twice(header: Sequence[str], found: Sequence[str]) -> list[FieldError]:
    keys = [attribute(target)[0] if attribute(target) else target for target in found]  # type: ignore[index]
    return [
        FieldError(f"mapping.{name}"[:200], f"Another column is {target} already.", "twice")
        for position, (name, target) in enumerate(zip(header, found, strict=True))
        if target and target not in _SEVERAL and keys[position] in keys[:position]
    ]
