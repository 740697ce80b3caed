"""Which files can be media of which kind, and how large they may be."""

from sandbox.media import Media

MB = 1024 * 1024
_OFFICE = "application/vnd.openxmlformats-officedocument."
TYPES: dict[str, dict[str, int]] = {
    "audio": dict.fromkeys(("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"), 16 * MB),
    "image": dict.fromkeys(("image/jpeg", "image/png"), 5 * MB),
    "video": dict.fromkeys(("video/mp4", "video/3gpp"), 16 * MB),
    "document": dict.fromkeys(
        (
            "text/plain",
            "application/pdf",
            "application/msword",
            "application/vnd.ms-excel",
            "application/vnd.ms-powerpoint",
            f"{_OFFICE}wordprocessingml.document",
            f"{_OFFICE}spreadsheetml.sheet",
            f"{_OFFICE}presentationml.presentation",
        ),
        100 * MB,
    ),
    "sticker": {"image/webp": 500 * 1024},
}
MOST = {mime: size for sizes in TYPES.values() for mime, size in sizes.items()}
LARGEST = 100 * MB


def fits(kind: str, medium: Media) -> bool:
    """Say whether a file can be sent as this kind; a document may be anything that can be uploaded."""
    return kind == "document" or medium.bare_type in TYPES[kind]
