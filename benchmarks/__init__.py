"""Measurements beside a peer or the machine's limit, taken in one run: `make bench`. Figures are in RESULTS.md."""
