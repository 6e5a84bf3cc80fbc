"""Choose where jobs run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from charlstm.errors import UserError
from charlstm.jobs.base import Pool
from charlstm.jobs.processes import Processes
from charlstm.jobs.this_process import ThisProcess


def make_pool(processes: int, cluster: str | None, folder: Path) -> Pool:
    """A pool of so many processes of this machine; of one, this process. Or, if its address is given, a Dask cluster.

    folder: where the jobs store everything.

    Raises UserError if the cluster cannot be used.
    """
    if cluster is None:
        return ThisProcess() if processes == 1 else Processes(processes)
    if find_spec("distributed") is None:
        raise UserError("--cluster needs the package distributed: pip install 'charlstm[cluster]'")
    from charlstm.jobs.cluster import Cluster

    return Cluster(cluster, folder)
