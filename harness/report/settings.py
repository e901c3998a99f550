"""A run's configuration as flat settings, whichever version recorded it.

run.json groups settings (cluster, traffic, faults); older ones had them side by side, and called
the target a protocol. A page shows names and values, and needs no more than that.
"""

from __future__ import annotations

from typing import Any, Final

PARTS: Final = ("cluster", "traffic", "faults")


def flat_settings(config: Any) -> dict[str, Any]:
    """Every setting by its name; `kinds` are the kinds of faults, a list of texts. {} for what is
    not a mapping."""
    if not isinstance(config, dict):
        return {}
    found = {name: value for name, value in config.items() if name not in PARTS}
    for part in PARTS:
        if isinstance(config.get(part), dict):
            found |= config[part]
    if isinstance(config.get("faults"), list):
        found["kinds"] = config["faults"]
    if "kinds" in found:
        kinds = found["kinds"]
        found["kinds"] = [k for k in kinds if isinstance(k, str)] if isinstance(kinds, list) else []
    if "target" not in found and "protocol" in found:
        found["target"] = found["protocol"]
    return found
