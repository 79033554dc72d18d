"""Gives back what no snapshot of a repository needs any more, whoever made it."""

from convoy_py.models.session import Access, Done, Prune, Pruned
from convoy_py.restic.pruner import carry_out
from convoy_py.restic.repository import Repository
from convoy_py.restic.surplus import Listed, Plan, plan
from convoy_py.session.opened import locked
from convoy_py.session.speech import Speech


def prune(repository: Repository, task: Prune, access: Access, speech: Speech) -> Done:
    """A plan beside whoever works there; then alone, and by a new plan if anything has changed."""

    def tell(done: int, total: int, note: str = "snapshots looked through") -> None:
        speech.step(0, 0, f"{done} of {total} {note}")

    with locked(repository, access, speech):
        planned = plan(repository, tell)
    if not task.dry_run and not planned.is_empty:
        with locked(repository, access, speech, exclusive=True) as lock:
            if Listed.of(repository) != planned.listed:
                planned = plan(repository, tell)
            carry_out(repository, planned, lock.confirm, tell)
    return Done(pruned=_told(planned))


def _told(planned: Plan) -> Pruned:
    deleted = len(planned.deleted) + len(planned.unindexed)
    return Pruned(
        snapshots=len(planned.listed.snapshots),
        kept=len(planned.listed.packs) - deleted - len(planned.repacked),
        repacked=len(planned.repacked),
        deleted=deleted,
        repacked_bytes=planned.repacked_bytes,
        freed_bytes=planned.freed_bytes,
        unneeded_bytes=planned.unneeded_bytes,
    )
