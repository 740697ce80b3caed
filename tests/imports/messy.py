"""A file with eight kinds of bad rows and with people who are in it twice, and what it must come to.

The count knows nothing of how imports work: each row is written with what it is.
"""

import random

_BAD = (
    lambda n: f"bad,not a number {n},,,,,",
    lambda n: f"bad,9.19E+1{n % 10},,,,,",
    lambda n: f"bad,,nobody{n}@nowhere,,,,",
    lambda n: f"bad{n},,,lead,,,",
    lambda n: f"bad,+1415555{n:04d},,,,,,,surplus{n}",
    lambda n: f"bad,+1415555{n:04d},,,twelve{n},,",
    lambda n: f"bad,+1415555{n:04d},,,,31/12/{n},",
    lambda n: f"bad,+1415555{n:04d},,,,,Moon/{n}",
)


def messy(rows: int, duplicates: str) -> tuple[str, tuple[int, int, int, int], int]:
    """Return a file, what created, updated, skipped and rejected must be, and how many contacts there must be."""
    chance = random.Random(7)
    lines, people = ["name,phone,email,tags,age,since,zone"], []
    created = doubled = rejected = 0
    for n in range(rows):
        kind = chance.random()
        if kind < 0.12:
            lines.append(_BAD[rejected % len(_BAD)](rejected % 10_000))
            rejected += 1
        elif kind < 0.20 and people:
            digits, address = chance.choice(people)
            # Once by number, written otherwise, once by address.
            lines.append(
                f"again,({digits[:2]}) {digits[2:7]}-{digits[7:]},,x,,," if n % 2 else f"again,,{address.upper()},,,,"
            )
            doubled += 1
        else:
            digits, address = f"119{created + 10_000_000}", f"person{created}@example.com"
            people.append((digits, address))
            number = (
                f"+55{digits}",
                f"0055 {digits}",
                f"({digits[:2]}) {digits[2:7]}-{digits[7:]}",
                f"tel:+55-{digits}",
            )[n % 4]
            lines.append(
                f"Person {created},{number},{address},lead;vip,{n % 90},2026-01-{n % 28 + 1:02d},America/Sao_Paulo"
            )
            created += 1
    text = "\n".join(lines) + "\n"
    updated, skipped = (0, doubled) if duplicates == "skip" else (doubled, 0)
    return text, (created, updated, skipped, rejected), created
