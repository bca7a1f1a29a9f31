"""The names inside the pinned Ray that `compute.ray_start` replaces are there, and are called."""

import inspect

import ray._private.node as node
from ray.scripts import scripts


def test_what_is_replaced_is_what_the_head_calls() -> None:
    head = inspect.getsource(node.Node.start_head_processes)
    assert "self.start_api_server(" in head
    assert "if self._ray_params.ray_client_server_port:" in head
    start = inspect.getsource(scripts.start.callback)
    assert "get_ray_client_dependency_error() is None" in start


def test_both_are_left_out(monkeypatch) -> None:
    for owner, name in (
        (node.Node, "start_api_server"),
        (scripts, "get_ray_client_dependency_error"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    from compute.ray_start import leave_out

    stock = node.Node.start_api_server
    leave_out()
    assert node.Node.start_api_server is not stock
    assert node.Node.start_api_server(None, include_dashboard=False, raise_on_failure=True) is None
    assert isinstance(scripts.get_ray_client_dependency_error(), ImportError)
