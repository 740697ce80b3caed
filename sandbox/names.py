"""Display names for customers nobody named: always the same name for the same number."""

from sandbox.ids import stable

_FIRST = (
    "Ada Amara Ana Anders Aisha Ben Bruno Camila Chen Clara Diego Dina Elena Emeka Emil Farah Felix Grace Hana Hugo "
    "Ines Ivan Jana Jonas Kavya Kofi Lara Leila Liam Luca Maya Mateo Mira Nadia Noah Olga Omar Priya Rafael Rosa "
    "Samir Sara Sofia Tariq Tess Uma Victor Wanda Yara Zoe"
)
_LAST = (
    "Abara Almeida Andersen Bauer Bianchi Castro Chen Cohen Costa Dias Duarte Eriksen Farouk Fischer Garcia Haddad "
    "Ito Jansen Joshi Kaya Keller Khan Kim Lopez Mensah Meyer Moreau Nair Novak Okafor Oliveira Park Patel Pereira "
    "Rossi Santos Schmidt Silva Singh Soto Tanaka Torres Vega Weber Yilmaz"
)


def name_for(address: str) -> str:
    """Return a plausible name for a phone number or user id."""
    return f"{_pick(_FIRST, address)} {_pick(_LAST, address[::-1])}"


def _pick(names: str, text: str) -> str:
    choices = names.split()
    return choices[stable(text, len(choices))]
