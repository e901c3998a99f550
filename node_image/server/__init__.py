"""The asyncio driver around a protocol: peers, disk, clients, timers. Standard library only.

settings    a node's start-up settings, validated
codec       messages and records as JSON arrays, from their annotations
wal         the write-ahead log: what the disk holds
transport   the other nodes, over TCP, or UDP for what fits a datagram
clients     the client port: one JSON object a line
node_log    the node's log on standard output, and its decisions in a file
driver      the protocol's effects, carried out; the durable-state rule
node        all of it together, from start to stop
"""
