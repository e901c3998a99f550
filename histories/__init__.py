"""Histories: events, the folder of a run, formats, models, the checker and its explanations."""
