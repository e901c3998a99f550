"""Disk faults: a FUSE file system in front of the node's data directory. See `disk`."""
