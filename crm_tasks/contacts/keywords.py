"""Words by which people opt out of marketing and in again: the whole message, in any case, with or without accents.

`CANCEL`, `END` and `QUIT` are none by default: customers write them about orders and appointments.
"""

import unicodedata
from collections.abc import Iterable
from enum import StrEnum

LONGEST = 60
# By language, for people who read this; a message is compared with all of them.
STOP = {
    "en": ("stop", "stop all", "stopall", "unsubscribe", "opt out", "optout", "stop promotions", "stop promo"),
    "es": ("parar", "baja", "darme de baja", "cancelar suscripción", "detener promociones", "alto"),
    "pt": ("parar", "pare", "sair", "descadastrar", "cancelar inscrição", "parar promoções"),
    "fr": ("arrêt", "arrêter", "arrêtez", "désabonner", "se désabonner", "désinscrire", "désinscription"),
    "de": ("stopp", "abmelden", "abbestellen", "abmeldung", "keine werbung"),
    "it": ("ferma", "disiscrivi", "disiscrivimi", "cancellami", "annulla iscrizione"),
    "nl": ("stoppen", "afmelden", "uitschrijven"),
    "hi": ("रोकें", "रोको", "बंद करें", "बंद करो", "सदस्यता समाप्त"),
    "id": ("berhenti", "berhenti berlangganan", "stop langganan"),
    "tr": ("dur", "durdur", "abonelikten çık", "abonelikten ayrıl"),
    "ar": ("إيقاف", "أوقف", "توقف", "إلغاء الاشتراك", "الغاء الاشتراك"),
    "ru": ("стоп", "отписаться", "отписка"),
    "pl": ("wypisz", "rezygnuję"),
    "zh": ("退订", "停止"),
    "ja": ("停止", "配信停止"),
}
START = {
    "en": ("start", "unstop", "subscribe", "resubscribe", "opt in", "optin"),
    "es": ("iniciar", "alta", "darme de alta", "suscribirme"),
    "pt": ("iniciar", "inscrever", "começar", "voltar a receber"),
    "fr": ("commencer", "reprendre", "s'abonner", "abonner"),
    "de": ("starten", "anmelden", "abonnieren"),
    "it": ("inizia", "iscrivi", "iscrivimi"),
    "nl": ("starten", "aanmelden", "inschrijven"),
    "hi": ("शुरू", "शुरू करें", "सदस्यता लें"),
    "id": ("mulai", "berlangganan"),
    "tr": ("başla", "başlat", "abone ol"),
    "ar": ("ابدأ", "بدء", "اشترك", "اشتراك"),
    "ru": ("старт", "подписаться"),
    "pl": ("zapisz",),
    "zh": ("订阅", "开始"),
    "ja": ("開始", "配信再開"),
}


class Wish(StrEnum):
    """What such a word asks for."""

    STOP = "stop"
    START = "start"


def plain(text: str) -> str:
    """Return a text as it is compared: without accents, case, punctuation around it, and superfluous space."""
    if len(text) > LONGEST * 2:
        return ""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) not in ("Mn", "Cf"))
    # A Turkish i without its dot is one in capitals.
    words = " ".join(bare.casefold().replace("ı", "i").replace("_", " ").split())
    return words.strip(" .,;:!?¡¿…\"'`´“”„«»()[]*-")


_STOP = frozenset(plain(word) for words in STOP.values() for word in words)
_START = frozenset(plain(word) for words in START.values() for word in words)


def wish(text: str, *, stop: Iterable[str] | None = None, start: Iterable[str] | None = None) -> Wish | None:
    """Return what a message asks for if it is one of these words and nothing else; the usual ones by default."""
    words = plain(text)
    if not words:
        return None
    if words in (_STOP if stop is None else {plain(word) for word in stop}):
        return Wish.STOP
    return Wish.START if words in (_START if start is None else {plain(word) for word in start}) else None
