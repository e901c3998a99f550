"""The trade-offs between the protocols, each measured on a running cluster and compared with
theory.

columns     the protocols compared, and which node their clients ask
theory      predictions of the papers: one expected value per row and column, with its source
script      clients and faults as small programs that a runtime drives
clusters    simulated clusters with fixed delays
latency     cell 1: latency of an idle client, in one-way delays
cost        cell 2: messages and fsyncs per operation
quorums     cell 3: the smallest sets of acceptors, for each phase
livelock    cell 4: duelling proposers; with `adversary`, a schedule that lets no proposer win
collisions  cell 5: conflicting commands in Fast Paxos and EPaxos
regions     cell 6: five regions of the world
survival    cell 7: crashes survived, and a crash during a write
cuts        the faults used by the cells
table       the cells in their order, and the whole result
files       JSON, CSV, the page, and the page of the documentation

A cell is a function from `Settings` to a `Section` (see `result`).
"""
