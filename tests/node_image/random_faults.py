"""Random faults and clients over a small world, and the properties that must hold afterwards."""

from __future__ import annotations

from random import Random

from node_image.protocols.interface import Answer, Command
from tests.node_image.cluster import Network, World

KEY = "x"


class Chaos:
    """Kills, pauses, cuts, restarts; clients that write unique values, and read."""

    def __init__(self, world: World, seed: int, *, clients: int = 3, faults: bool = True) -> None:
        self.world = world
        self.random = Random(f"{seed}:chaos")
        self.faults = faults
        self._stopped = False
        self._next_client = 1
        self._value = 0
        self._acknowledged: dict[int, int] = {}  # value -> time of its first acknowledgement
        self._invoked: dict[int, int] = {}
        self._reads: list[tuple[int, int, int | None]] = []  # invoked, answered, value
        for _ in range(clients):
            self._start_client()

    # ------------------------------------------------------------------ running

    def run(self, duration_us: int) -> None:
        end = self.world.now + duration_us
        while self.world.now < end:
            if self.faults:
                self._maybe_fault()
            self.world.run(self.random.randrange(2_000, 20_000))

    def heal(self) -> None:
        """Heal everything, start all nodes, stop the clients; then wait for the cluster to
        settle."""
        world = self.world
        self._stopped = True
        world.network = Network()
        world.intercept = None
        for node, host in world.hosts.items():
            if host.process is None:
                world.boot(node)
            world.run(1)
        world.run(4_000_000)

    def _maybe_fault(self) -> None:
        world, random = self.world, self.random
        draw = random.random()
        node = random.choice(world.config.nodes)
        if draw < 0.01:
            victim = world.leader() if random.random() < 0.5 else node
            self._kill(victim or node)
        elif draw < 0.02:
            world.network.cut = self._random_cut()
        elif draw < 0.035:
            world.network.cut = set()
        elif draw < 0.045:
            world.pause(node, random.randrange(50_000, 1_500_000))

    def _kill(self, node: int) -> None:
        world = self.world
        if world.hosts[node].process is not None:
            world.crash(node)
            world.at(world.now + self.random.randrange(10_000, 1_500_000), self._reboot, node)

    def _reboot(self, node: int) -> None:
        if self.world.hosts[node].process is None:
            self.world.boot(node)

    def _random_cut(self) -> set[tuple[int, int]]:
        nodes = self.world.config.nodes
        side = set(self.random.sample(nodes, self.random.randrange(1, len(nodes) // 2 + 1)))
        one_way = self.random.random() < 0.3
        return {
            (a, b)
            for a in nodes
            for b in nodes
            if a != b and (a in side) != (b in side) and not (one_way and a in side)
        }

    # ------------------------------------------------------------------ clients

    def _start_client(self) -> None:
        client, self._next_client = self._next_client, self._next_client + 1
        self._invoke(client, 1, self.random.choice(self.world.config.nodes))

    def _invoke(self, client: int, seq: int, node: int) -> None:
        read = self.random.random() < 0.4
        self._value += 1
        command = Command(client, seq, "read" if read else "write", KEY, self._value)
        self._attempt(command, node, self.world.now, 0)

    def _attempt(self, command: Command, node: int, invoked: int, tries: int) -> None:
        if self._stopped:
            return
        self.world.replies.pop((command.client, command.seq), None)
        self._invoked.setdefault(command.value, invoked)
        self.world.request(node, command)
        self.world.at(self.world.now + 3_000, self._poll, command, node, invoked, tries, 0)

    def _poll(self, command: Command, node: int, invoked: int, tries: int, polls: int) -> None:
        world, key = self.world, (command.client, command.seq)
        answers = world.replies.get(key)
        if not answers and polls < 60:
            world.at(world.now + 5_000, self._poll, command, node, invoked, tries, polls + 1)
        elif answers and answers[-1][1].error is None:
            self._completed(command, invoked, answers[-1][1])
            world.at(world.now + 5_000, self._invoke, command.client, command.seq + 1, node)
        elif tries < 6:
            hint = answers[-1][1].leader if answers else None
            target = hint or self.random.choice(world.config.nodes)
            world.at(world.now + 50_000, self._attempt, command, target, invoked, tries + 1)
        else:
            self._start_client()

    def _completed(self, command: Command, invoked: int, answer: Answer) -> None:
        if command.f == "write":
            self._acknowledged.setdefault(command.value, self.world.now)
        else:
            self._reads.append((invoked, self.world.now, answer.value))

    # ------------------------------------------------------------------ judging

    def check(self) -> list[str]:
        """The violations: of agreement, of acknowledged writes, of the order of reads."""
        found = list(self.world.conflicts)
        order = self._write_order()
        found += [f"acknowledged {v} is lost" for v in self._acknowledged if v not in order]
        known = [(t, order[v]) for v, t in self._acknowledged.items() if v in order]
        for invoked, answered, value in sorted(self._reads, key=lambda read: read[1]):
            rank = -1 if value is None else order.get(value)
            if rank is None:
                found.append(f"read {value}, which was never decided")
                continue
            if any(t < invoked and r > rank for t, r in known):
                found.append(f"stale read of {value} at {invoked}..{answered}")
            known.append((answered, rank))
        for value, rank in order.items():
            invoked = self._invoked.get(value, self.world.now)
            later = [v for v, t in self._acknowledged.items() if t < invoked]
            if any(order.get(v, -1) > rank for v in later):
                found.append(f"write {value} took effect before one acknowledged earlier")
        return found

    def _write_order(self) -> dict[int, int]:
        """The rank of each written value in the order of the log; retries count once."""
        order: dict[int, int] = {}
        sessions: dict[int, int] = {}
        for slot in sorted(self.world.decided):
            (commands, *_) = self.world.decided[slot]
            for command in commands:
                if command.f == "write" and command.seq > sessions.get(command.client, 0):
                    sessions[command.client] = command.seq
                    order[command.value] = len(order)
        return order


def run_heal_and_compare(world: World, seed: int) -> None:
    """Run under random faults, heal, and require an answer, no violation, and equal replicas."""
    chaos = Chaos(world, seed)
    chaos.run(4_000_000)
    chaos.heal()
    assert world.ask("write", "x", -1, client=10_000).error is None
    assert world.ask("read", "x", client=10_000, seq=2).value is not None
    world.run(1_000_000)
    assert chaos.check() == []
    assert len({status.applied for status in world.statuses()}) == 1, world.statuses()
    snapshots = [host.process.context.machine.snapshot() for host in world.hosts.values()]
    assert all(snapshot == snapshots[0] for snapshot in snapshots)
