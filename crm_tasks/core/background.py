"""Where the cores are too few, work that nobody waits for gives way to work that somebody does.

A campaign takes all that is left of a machine. Without this, who writes STOP or a question in its midst is heard by
processes that get as little of the cores as the campaign does (docs/decisions/15).
"""

import os
import random
import time
from pathlib import Path

# Of a busy core a process with this niceness gets a third of what one without gets (sched(7)).
NICENESS = 5
_TRIES = 10


def step_back() -> None:
    """Let this process, and all that it starts, take less of a busy core. With cores to spare it changes nothing."""
    os.nice(NICENESS)
    # Linux may share cores among sessions first, and then hears a niceness only within each (sched(7), autogroup). Of
    # those who are not root it takes one such word each tenth of a second.
    for _ in range(_TRIES):
        try:
            Path("/proc/self/autogroup").write_text(str(NICENESS))
        except BlockingIOError:
            time.sleep(random.uniform(0.1, 0.3))
        except OSError:
            return
        else:
            return
