"""A cluster that we did not write, as the yardstick of the protocol benchmark: PySyncObj.

`node.py` runs in the container: PySyncObj's replicated object, journal on, behind the client port's
JSON lines. `target.py` makes its image from ours and the installed package.
"""
