"""Bookkeeping from the outside: what every account and purse must hold, told by receipts alone.

Nothing here reads a record or calls a rule of the ledger: orders, fees and events must explain
every unit that moved, or an explorer that follows the chain would show wrong balances.
"""

from collections import defaultdict
from collections.abc import Sequence

from p2p_aios.ledger.execute import Execution
from p2p_aios.types.compute import SubmitJob
from p2p_aios.types.event import (
    EpochSettled,
    Event,
    JobRefunded,
    JobSettled,
    JobSubmitted,
    RewardPaid,
    RoundSettled,
    RoundVoided,
    TaskFinished,
    TaskOpened,
    Transferred,
    UpdateRefused,
)
from p2p_aios.types.genesis import Genesis
from p2p_aios.types.learning import CommitUpdate, SubmitTask
from p2p_aios.types.transaction import CheckedTransaction
from p2p_aios.units import Address, Hash

Bond = tuple[Hash, int, Address]
"""Task, round, worker."""


class Books:
    """A second account of all money."""

    def __init__(self, genesis: Genesis) -> None:
        self.params = genesis.params
        self.balances: defaultdict[Address, int] = defaultdict(int)
        for account in genesis.accounts:
            self.balances[account.address] = account.balance
        self.target = 1000 * genesis.dormant_sat
        self.reserve = self.target - sum(self.balances.values())
        self.accrued = self.fees = self.treasury = self.reward = self.height = self.rewarded = 0
        self.escrow: dict[Hash, int] = {}
        """By job or task."""
        self.payers: dict[Hash, Address] = {}
        self.bonds: dict[Bond, int] = {}
        self.stakes: dict[Hash, int] = {}
        """Bond of one seat, by task."""

    def enter(self, transactions: Sequence[CheckedTransaction], execution: Execution) -> None:
        """Enter the next block, in the order in which it happened."""
        self.height += 1
        self._accrue()
        begun = [event for event in execution.events if not isinstance(event, EpochSettled)]
        for event in begun:
            if not isinstance(event, RewardPaid):
                self._enter_event(event)
        for transaction, receipt in zip(transactions, execution.receipts, strict=True):
            self.balances[transaction.sender] -= receipt.fee
            self.fees += receipt.fee
            if receipt.code == "ok":
                self._enter_order(transaction)
            else:
                assert receipt.events == ()
            for event in receipt.events:
                self._enter_event(event)
        for event in execution.events:
            if isinstance(event, RewardPaid | EpochSettled):
                self._enter_event(event)
        assert min(self.balances.values()) >= 0

    def totals(self) -> tuple[int, ...]:
        """Accounts, escrow, bonds, accrued, fees, treasury, reserve."""
        parts = (self.balances, self.escrow, self.bonds)
        held = [sum(part.values()) for part in parts]
        return (*held, self.accrued, self.fees, self.treasury, self.reserve)

    def _accrue(self) -> None:
        era_blocks = self.params.epoch_blocks * self.params.era_epochs
        if self.height % era_blocks == 1 % era_blocks:
            self.reward = self.reserve // (2 * era_blocks)
        self.reserve -= self.reward
        self.accrued += self.reward

    def _enter_order(self, transaction: CheckedTransaction) -> None:
        """What leaves an account by the sender's own word."""
        match transaction.body.action:
            case SubmitJob(payment=amount) | SubmitTask(budget=amount):
                self.balances[transaction.sender] -= amount
                assert transaction.id not in self.escrow
                self.escrow[transaction.id] = amount
                if isinstance(transaction.body.action, SubmitTask):
                    self.stakes[transaction.id] = transaction.body.action.bond
            case CommitUpdate(task=task, round=number):
                self.balances[transaction.sender] -= self.stakes[task]
                bond = (task, number, transaction.sender)
                assert bond not in self.bonds
                self.bonds[bond] = self.stakes[task]

    def _enter_event(self, event: Event) -> None:
        match event:
            case Transferred(sender, recipient, amount):
                self.balances[sender] -= amount
                self.balances[recipient] += amount
            case JobSubmitted(id, payer) | TaskOpened(id, payer):
                self.payers[id] = payer
            case JobSettled(job=job, worker=worker, paid=paid):
                held = self.escrow.pop(job)
                assert held == paid
                self.balances[worker] += held
            case JobRefunded(job=job):
                self.balances[self.payers[job]] += self.escrow.pop(job)
            case TaskFinished(task=task, refunded=refunded):
                held = self.escrow.pop(task)
                assert held == refunded
                assert all(bond[0] != task for bond in self.bonds)
                self.balances[self.payers[task]] += held
            case UpdateRefused(task=task, round=number, worker=worker):
                self.reserve += self.bonds.pop((task, number, worker))
            case RoundSettled():
                self._enter_settled(event)
            case RoundVoided(task=task, round=number):
                self._return_bonds(task, number)
            case RewardPaid(recipient=recipient, amount=amount):
                self.balances[recipient] += amount
                self.rewarded += amount
            case EpochSettled():
                self._enter_settlement(event)

    def _enter_settled(self, event: RoundSettled) -> None:
        returned = self._return_bonds(event.task, event.round)
        assert returned == sorted(event.contributors)
        for worker in event.contributors:
            self.balances[worker] += event.paid
            self.escrow[event.task] -= event.paid
        assert self.escrow[event.task] >= 0

    def _return_bonds(self, task: Hash, number: int) -> list[Address]:
        held = sorted(bond for bond in self.bonds if bond[:2] == (task, number))
        for bond in held:
            self.balances[bond[2]] += self.bonds.pop(bond)
        return [worker for _, _, worker in held]

    def _enter_settlement(self, event: EpochSettled) -> None:
        assert event.pool == self.accrued + self.fees
        assert self.rewarded == event.paid_validators + event.paid_contributors
        assert event.pool == self.rewarded + event.paid_treasury + event.returned
        self.treasury += event.paid_treasury
        self.reserve += event.returned
        self.accrued = self.fees = self.rewarded = 0
