"""Which country an E.164 number is of, as SQL: the same answer that libphonenumber gives, without loading a row.

Most calling codes are of one country; for the others (+1, +7, +44 …) its tables say in which order countries are
asked, and by which digits each knows its own.
"""

from functools import cache
from typing import Any

import phonenumbers
import sqlalchemy as sa
from phonenumbers.phonemetadata import PhoneMetadata

# The kinds of numbers that count as known, as in libphonenumber's getNumberType.
_DESCRIPTIONS = (
    *("premium_rate", "toll_free", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail"),
    *("fixed_line", "mobile"),
)


def is_of(column: sa.ColumnElement[str], region: str) -> sa.ColumnElement[bool]:
    """Return the condition that a number is of a country; the country is two capital letters."""
    code = phonenumbers.country_code_for_region(region)
    sharing = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]
    own = column.like(f"+{code}%")
    if len(sharing) == 1:
        return own
    earlier = [_known(column, code, each) for each in sharing[: sharing.index(region)]]
    return sa.and_(own, _known(column, code, region), *map(sa.not_, earlier))


def _known(column: sa.ColumnElement[str], code: int, region: str) -> sa.ColumnElement[bool]:
    return sa.and_(*(column.op("~", is_comparison=True)(f"^\\+{code}{pattern}") for pattern in _patterns(region)))


@cache
def _patterns(region: str) -> tuple[str, ...]:
    """Return regular expressions that all fit what follows the calling code in numbers of a country."""
    known: Any = PhoneMetadata.metadata_for_region(region)
    if known.leading_digits is not None:
        return (f"(?:{known.leading_digits})",)
    kinds = (getattr(known, name) for name in _DESCRIPTIONS)
    each = [kind.national_number_pattern for kind in kinds if kind is not None and kind.national_number_pattern]
    general = known.general_desc.national_number_pattern
    return f"(?:{general})$", f"(?:{'|'.join(f'(?:{pattern})' for pattern in each)})$"
