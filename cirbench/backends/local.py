"""joblib on this machine: threads (encoders are subprocesses or release the GIL) or processes."""

from __future__ import annotations

from dataclasses import dataclass

import joblib
from joblib.externals.loky.process_executor import BrokenProcessPool

from . import Needs


@dataclass(frozen=True)
class Threads:
    """``jobs`` threads of this process, None is one per core. Nothing is ever lost."""

    jobs: int | None
    lost: tuple[type[BaseException], ...] = ()

    def count(self, needs: Needs) -> int:
        """Rows at a time."""
        return self.jobs or int(joblib.cpu_count())

    def parallel(self, needs: Needs) -> joblib.Parallel:
        """Results as they come."""
        return joblib.Parallel(
            n_jobs=self.count(needs),
            backend="threading",
            return_as="generator_unordered",
            pre_dispatch="2*n_jobs",
        )


@dataclass(frozen=True)
class Processes:
    """``jobs`` processes of this machine: a crash inside a codec ends one, never the build."""

    jobs: int | None
    lost: tuple[type[BaseException], ...] = (BrokenProcessPool,)

    def count(self, needs: Needs) -> int:
        """Rows at a time."""
        return self.jobs or int(joblib.cpu_count())

    def parallel(self, needs: Needs) -> joblib.Parallel:
        """Results as they come; never in this process, as joblib would have it for one job."""
        jobs = self.count(needs)
        return joblib.Parallel(
            n_jobs=max(2, jobs),
            backend="loky",
            return_as="generator_unordered",
            pre_dispatch=2 * jobs if jobs > 1 else 1,
            batch_size=1,
            max_nbytes=None,
        )
