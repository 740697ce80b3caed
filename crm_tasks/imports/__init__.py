"""Work on many contacts at once: files that bring them, and one action on a whole audience. Queue `imports`."""
