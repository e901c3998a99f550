"""A fuzzer: random malformed and malicious inputs for all parsers of external data."""
