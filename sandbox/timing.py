"""When news of a message come: as the limits say, unless a fault makes them late, doubled, in disorder or silent."""

from sandbox.faults import Effect

Step = tuple[str, float]


def schedule(effect: Effect, t: float, steps: list[Step]) -> list[tuple[str, float, float]]:
    """Return each piece of news with when to send it and when it happened; `steps` are names and milliseconds."""
    if effect.silent:
        return []
    moments = [t + after / 1000 for _, after in steps]
    dues = [moment + effect.late for moment in (reversed(moments) if effect.reorder else moments)]
    return [
        (name, round(due, 3), round(moment, 3))
        for (name, _), moment, due in zip(steps, moments, dues, strict=True)
        for _ in range(effect.copies)
    ]
