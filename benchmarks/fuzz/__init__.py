"""Broken and hostile inputs, made at random, for everything that reads what others wrote."""
