"""The asyncio driver around a protocol: peers, disk, clients, timers. Standard library only.

settings    a node's start-up settings, validated
codec       messages and records as JSON arrays, from their annotations
wal         the write-ahead log: what the disk holds
transport   the other nodes, over TCP, or UDP for what fits a datagram
clients     the client port: one JSON object per line
node_log    the node's log on standard output, and its decisions in files
driver      executes the protocol's effects; the durable-state rule
node        the whole node, from start to stop
"""
