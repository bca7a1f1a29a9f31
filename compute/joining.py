"""Make sure that a contributor's actor is there.

    python -m compute.joining RAY_ADDRESS NODE_IP CONTRIBUTOR

A short-lived driver, so that no Ray core lives in the process that holds the contributor's key.
"""

import sys
from typing import Any, Final

import ray

from compute.contributor import CALLS_AT_ONCE, ContributorActor
from compute.environment import CONTRIBUTOR_LABEL, NAMESPACE, actor_name, resource_of
from p2p_aios.codec import schema
from p2p_aios.types.gateway import AgentCall, Describe

CREATE_SECONDS_MAX: Final = 60.0
ANSWER_SECONDS_MAX: Final = 5.0
ATTEMPTS: Final = 2


def main(arguments: list[str]) -> int:
    """Exit code: 0 once the actor answers."""
    address, node_ip, contributor = arguments
    ray.init(
        address=address,
        _node_ip_address=node_ip,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level="ERROR",
    )
    for _ in range(ATTEMPTS):
        try:
            _ensure_actor(contributor)
        except ray.exceptions.RayError as error:
            print(f"the contributor's actor does not answer: {error}", file=sys.stderr)
        else:
            return 0
    return 1


def _ensure_actor(contributor: str) -> None:
    """Create the detached actor pinned to the contributor's machine, or find the one that lives."""
    actor = _actor_class(contributor).remote()
    probe = schema.encode(AgentCall(0, Describe()))
    try:
        ray.get(actor.call.remote(ANSWER_SECONDS_MAX, probe), timeout=CREATE_SECONDS_MAX)
    except ray.exceptions.RayError:
        # Perhaps a namesake from before this machine came back: make way for the next attempt.
        ray.kill(actor)
        raise


def _actor_class(contributor: str) -> Any:
    return ray.remote(ContributorActor).options(
        name=actor_name(contributor),
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=CALLS_AT_ONCE,
        num_cpus=0,
        resources={resource_of(contributor): 0.01},
        label_selector={CONTRIBUTOR_LABEL: contributor},
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
