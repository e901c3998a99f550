"""The family: one pure state machine a file (see `seam`), and what they share."""
