"""Replays, shrinks and explains recorded failures."""
