"""bank: accounts: transfers, balances, their total.

    transfer {"from": a, "to": b, "amount": n}    deposit, withdraw {"account": a, "amount": n}
    read -> every balance, as {account: balance} or as a list (accounts 0, 1, …)
    balance a -> the balance of one account       total -> the sum of all

Accounts are strings or whole numbers; in maps their names are strings. A read shows every account
with a balance other than 0. A balance cannot become negative, unless overdrafts are allowed.

`initial` is the balances at first, as a read shows them; or {"balances": …, "overdraft": true}.
Where it is not given the balances are unknown: the first read (or balance, or total) determines
them, and everything else must fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from histories.events import Json
from histories.models.counter import Counter
from histories.models.interface import (
    ANY,
    ILLEGAL,
    NUMBER,
    Kind,
    Part,
    Signature,
    State,
    is_number,
)
from histories.operations import Operation, elements_of, freeze, members_of, thaw


class _Transfer(NamedTuple):
    giver: str | None
    taker: str | None
    amount: int


def _account(value: Any) -> str | None:
    return str(value) if is_number(value) or isinstance(value, str) else None


def _field(value: Any, name: str) -> Any:
    members = members_of(value) or {}
    return members.get(name, members.get(f":{name}"))


def _transfer(f: str, value: Any) -> _Transfer | None:
    """The transfer of an operation; None where its value is not one."""
    amount = _field(value, "amount")
    if not is_number(amount) or amount < 0:
        return None
    if f == "transfer":
        giver, taker = _account(_field(value, "from")), _account(_field(value, "to"))
        return None if giver is None or taker is None else _Transfer(giver, taker, amount)
    account = _account(_field(value, "account"))
    if account is None:
        return None
    return _Transfer(None, account, amount) if f == "deposit" else _Transfer(account, None, amount)


def _balances(value: Any) -> dict[str, int] | None:
    """Balances as a read shows them; None for anything else."""
    members = members_of(value)
    if members is None:
        listed = elements_of(value) if isinstance(value, tuple) else None
        if listed is None:
            return None
        members = {str(number): balance for number, balance in enumerate(listed)}
    return members if all(map(is_number, members.values())) else None


def _begins(value: Any) -> bool:
    named = _field(value, "balances")
    return _balances(named if named is not None else value) is not None


TRANSFER = Kind(
    '{"from": account, "to": account, "amount": a whole number from 0}',
    lambda v: _transfer("transfer", v) is not None,
)
CHANGE = Kind(
    '{"account": account, "amount": a whole number from 0}',
    lambda v: _transfer("deposit", v) is not None,
)
BALANCES = Kind("whole numbers by account, or a list of them", lambda v: _balances(v) is not None)
ACCOUNT = Kind("an account: a string or a whole number", lambda v: _account(v) is not None)


class _State(NamedTuple):
    """Balances where they are known (all others are 0); else what has changed since the beginning.
    `accounts`: what is known of single accounts before all are; `total`: of their sum."""

    balances: frozenset[tuple[str, int]]
    known: bool
    accounts: frozenset[tuple[str, int]] = frozenset()
    total: int | None = None


class Bank:
    name = "bank"
    begins = Kind(
        'balances: a map or a list of whole numbers, or {"balances": …, "overdraft": true}', _begins
    )
    operations: ClassVar[Mapping[str, Signature]] = {
        "transfer": Signature(TRANSFER, ANY),
        "deposit": Signature(CHANGE, ANY),
        "withdraw": Signature(CHANGE, ANY),
        "read": Signature(ANY, BALANCES),
        "balance": Signature(ACCOUNT, NUMBER),
        "total": Signature(ANY, NUMBER),
    }
    # A read of unknown balances makes them known.
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        frozen = freeze(initial)
        named = _field(frozen, "balances")
        balances = _balances(named if named is not None else frozen) or {}
        self._overdraft = bool(thaw(_field(frozen, "overdraft")))
        known = initial is not None
        self._initial = _State(_nonzero(balances), known, total=None)
        if known:
            self.reads = frozenset(("read", "balance", "total"))  # type: ignore[misc]

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f in ("read", "balance", "total"):
            return _read(state, operation) if operation.seen else state
        moved = _transfer(operation.f, operation.value)
        if moved is None:
            return ILLEGAL
        balances = dict(state.balances)
        if moved.giver is not None:
            rest = balances.get(moved.giver, 0) - moved.amount
            if state.known and rest < 0 and not self._overdraft:
                return state if operation.outcome == "info" else ILLEGAL
            balances[moved.giver] = rest
        if moved.taker is not None:
            balances[moved.taker] = balances.get(moved.taker, 0) + moved.amount
        return state._replace(balances=_nonzero(balances))

    def parts(self, operations: Sequence[Operation]) -> Iterator[Part]:
        """Each account by itself, as a counter, where the balances at first are known."""
        if not self._initial.known:
            return
        moves = {op.id: _transfer(op.f, op.value) for op in operations}
        names = {account for account, _ in self._initial.balances}
        for op in operations:
            move = moves[op.id]
            names.update(a for a in (move[:2] if move else ()) if a is not None)
            names.update(_balances(op.result) or {} if op.f == "read" and op.seen else {})
        for name in sorted(names):
            own: list[Operation] = []
            for op in operations:
                found = _of_account(op, moves[op.id], name)
                if found is not None:
                    own.append(found._replace(id=len(own)))
            yield f"account {name}", Counter(dict(self._initial.balances).get(name, 0)), own


def _of_account(op: Operation, move: _Transfer | None, name: str) -> Operation | None:
    """The effect of an operation on one account, as an operation on a counter."""
    if move is not None:
        change = move.amount * ((move.taker == name) - (move.giver == name))
        return op._replace(f="add", value=change, result=None) if change else None
    if op.f == "read" and op.seen:
        balance = (_balances(op.result) or {}).get(name, 0)
        return op._replace(f="read", value=None, result=balance)
    if op.f == "balance" and op.seen and _account(op.value) == name:
        return op._replace(f="read", value=None)
    return None


def _nonzero(balances: Mapping[str, int]) -> frozenset[tuple[str, int]]:
    return frozenset((account, n) for account, n in balances.items() if n)


def _read(state: _State, operation: Operation) -> Any:
    if operation.f == "total":
        return _read_total(state, operation.result)
    if operation.f == "balance":
        return _read_balance(state, str(_account(operation.value)), operation.result)
    seen = _balances(operation.result) or {}
    if state.known:
        return state if _nonzero(seen) == state.balances else ILLEGAL
    return _made_known(state, seen)


def _read_total(state: _State, total: int) -> Any:
    change = total - sum(n for _, n in state.balances)
    if state.known:
        return state if change == 0 else ILLEGAL
    return state._replace(total=change) if state.total in (None, change) else ILLEGAL


def _read_balance(state: _State, account: str, balance: int) -> Any:
    change = balance - dict(state.balances).get(account, 0)
    if state.known:
        return state if change == 0 else ILLEGAL
    if any(known == account and n != change for known, n in state.accounts):
        return ILLEGAL
    return state._replace(accounts=state.accounts | {(account, change)})


def _made_known(state: _State, seen: dict[str, int]) -> Any:
    now = dict(state.balances)
    at_first = {a: seen.get(a, 0) - now.get(a, 0) for a in seen.keys() | now.keys()}
    if any(at_first.get(account, 0) != n for account, n in state.accounts):
        return ILLEGAL
    if state.total is not None and sum(at_first.values()) != state.total:
        return ILLEGAL
    return _State(_nonzero(seen), known=True)


MODEL = Bank
