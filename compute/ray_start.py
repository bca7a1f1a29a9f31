"""`ray start` without two servers of the head that AIOS has no use for.

    python -m compute.ray_start OPTIONS...

Ray 2.60 starts them whatever it is told, and its raylet only after them:

- the dashboard: `--include-dashboard=false` leaves it its usage statistics, and the head waiting
  for it to come up;
- the Ray Client server: a second way into the cluster, on port 10001, that nobody here takes.

Without them a head is up in 4 s instead of 12, holds 190 MB less, and listens on fewer ports. Both
replace names inside the pinned version: `tests/compute/test_ray_start.py` fails when they are gone.
"""

import sys

import ray._private.node as node
from ray.scripts import scripts


def leave_out() -> None:
    """Make `ray start` in this process leave both out."""
    node.Node.start_api_server = _start_no_dashboard
    # It starts the server wherever its dependencies are there.
    scripts.get_ray_client_dependency_error = _miss_ray_client


def _start_no_dashboard(_node: node.Node, **_options: object) -> None:
    """In place of the dashboard."""


def _miss_ray_client() -> ImportError:
    return ImportError("AIOS does not use Ray Client")


if __name__ == "__main__":
    leave_out()
    sys.argv = ["ray", "start", *sys.argv[1:]]
    sys.exit(scripts.main())
