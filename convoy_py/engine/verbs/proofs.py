"""The verb that proves backups: each is restored into a place beside, and compared there."""

from collections.abc import Sequence

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.operations import translated
from convoy_py.engine.steps.backups import Archiving
from convoy_py.engine.steps.host import Host
from convoy_py.engine.verbs.finding import Finding
from convoy_py.engine.verbs.repositories import Repositories
from convoy_py.errors import Corrupt, NotFound
from convoy_py.models.backup import BackupView
from convoy_py.state.records import Proof, timestamp


class Proofs:
    """What of the backups in the repositories of one daemon was proven to be restorable."""

    def __init__(
        self,
        host: Host,
        here: str,
        repositories: Repositories,
        finding: Finding,
        archiving: Archiving,
    ) -> None:
        """`here` is what this host is called in backups."""
        self._here = here
        self._host = host
        self._repositories = repositories
        self._finding = finding
        self._archiving = archiving

    async def prove(
        self, references: Sequence[str], repository: str, progress: Progress
    ) -> tuple[list[BackupView], list[str]]:
        """Restore backups beside, or the newest of each volume of each host, and compare.

        Returns those that are what they should be, which is remembered, and what is not so of the
        others. What keeps it from being known, such as a full host, is raised; NotFound where
        there is nothing to prove.
        """
        if references:
            chosen = await self._finding.several(references, repository, progress)
        else:
            views = await self._finding.views("", repository, progress)
            newest = {(v.repository, v.host, v.volume): v for v in sorted(views, key=_created)}
            chosen = list(newest.values())
            if not chosen:
                raise NotFound("there is no backup to prove: `convoy backup create` makes one")
        return await self._proven(chosen, progress)

    async def prove_newest(self, volume: str, repository: str, progress: Progress) -> BackupView:
        """The same with the newest backup of a volume of this host; raises Corrupt, NotFound."""
        views = await self._finding.views(volume, repository, progress)
        ours = [view for view in views if view.host == self._here]
        if not ours:
            raise NotFound(f"{repository} has no backup of a volume {volume} of this host to prove")
        proven, problems = await self._proven([max(ours, key=_created)], progress)
        if problems:
            raise Corrupt("; ".join(problems))
        return proven[0]

    async def _proven(
        self, chosen: Sequence[BackupView], progress: Progress
    ) -> tuple[list[BackupView], list[str]]:
        for name in {view.repository for view in chosen}:
            await self._drop_gone(name, progress)
        proven: list[BackupView] = []
        problems: list[str] = []
        for view in chosen:
            found = await self._problems(view, progress)
            problems += [f"{view.url}: {problem}" for problem in found]
            at = None if found else timestamp(self._host.wall_clock())
            proofs = {**self._repositories.proofs(view.repository)}
            proofs.pop(view.id, None)
            if at:
                proofs[view.id] = Proof(volume=view.volume, proven=at)
                proven.append(view.model_copy(update={"proven": at}))
            await self._repositories.remember(view.repository, proofs)
        return proven, problems

    async def _problems(self, view: BackupView, progress: Progress) -> Sequence[str]:
        record = self._repositories.get(view.repository)
        progress.note = f"proving {view.url}"
        try:
            with translated(view.volume, "prove"):
                return await self._repositories.threads_of(view.repository).run_long(
                    self._archiving.prove, record, view.id, progress
                )
        except Corrupt as error:
            return [str(error)]

    async def _drop_gone(self, name: str, progress: Progress) -> None:
        """Forget the proofs of backups that are not there any more."""
        ids = {view.id for view in await self._finding.views("", name, progress)}
        proofs = self._repositories.proofs(name)
        if proofs.keys() - ids:
            await self._repositories.remember(
                name, {key: proof for key, proof in proofs.items() if key in ids}
            )


def _created(view: BackupView) -> float:
    return view.created.timestamp()
