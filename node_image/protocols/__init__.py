"""The family: one pure state machine a file (see `interface`), and what they share."""
