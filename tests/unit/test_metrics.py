"""What /metrics shows."""

import subprocess
import sys

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from convoy_py.metrics import Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """Each sample's value by its name and the values of its labels, in alphabetical order."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        " ".join(
            [sample.name, *(value for _, value in sorted(sample.labels.items()))]
        ): sample.value
        for family in families
        for sample in family.samples
    }


def test_operations_are_counted_by_result_and_timed() -> None:
    """Failures count apart, and their time counts too."""
    metrics = Metrics("1.2.3")
    metrics.operation("docker", "create", "ok", 0.002)
    metrics.operation("docker", "create", "ok", 0.2)
    metrics.operation("docker", "create", "no-space", 0.01)
    metrics.operation("admin", "create", "ok", 30.0)
    shown = samples(metrics)
    assert shown["convoy_operations_total docker create ok"] == 2
    assert shown["convoy_operations_total docker create no-space"] == 1
    assert shown["convoy_operations_total admin create ok"] == 1
    assert shown["convoy_operation_seconds_count docker create"] == 3
    assert shown["convoy_operation_seconds_bucket docker 0.0025 create"] == 1
    assert shown["convoy_operation_seconds_bucket admin 25.0 create"] == 0
    assert shown["convoy_build_info 1.2.3"] == 1


def test_volumes_are_those_of_now() -> None:
    """A state that no volume is in any more is not shown with its old number."""
    metrics = Metrics("0")
    metrics.volumes(
        {("loopback", "mounted"): 2, ("directory", "ready"): 1},
        references=5,
        lingering=2,
        problems=1,
    )
    metrics.volumes({("directory", "ready"): 3}, references=0, lingering=0, problems=0)
    shown = samples(metrics)
    assert shown["convoy_volumes directory ready"] == 3
    assert "convoy_volumes loopback mounted" not in shown
    assert (shown["convoy_references"], shown["convoy_problems"]) == (0, 0)
    assert shown["convoy_lingering"] == 0


def test_leaks_are_counted_as_they_are_dropped() -> None:
    """An operator sees how often an engine did not say that a container is gone."""
    metrics = Metrics("0")
    metrics.leaked(2)
    metrics.leaked(1)
    assert samples(metrics)["convoy_leaked_references_total"] == 3


def test_freezes_tell_how_long_writers_waited() -> None:
    """One that was over at once and one that hurt are told apart."""
    metrics = Metrics("0")
    metrics.froze(0.02)
    metrics.froze(0.4)
    shown = samples(metrics)
    assert shown["convoy_freeze_seconds_bucket 0.025"] == 1
    assert shown["convoy_freeze_seconds_bucket 0.25"] == 1
    assert shown["convoy_freeze_seconds_bucket 0.5"] == 2
    assert shown["convoy_freeze_seconds_sum"] == pytest.approx(0.42)


def test_no_sample_says_when_counting_began() -> None:
    """It would double the page for what nobody asks."""
    metrics = Metrics("0")
    metrics.operation("docker", "get", "ok", 0.1)
    assert not [name for name in samples(metrics) if "_created" in name]


def test_two_daemons_in_one_process_do_not_mix() -> None:
    """Nothing is registered globally."""
    one, two = Metrics("0"), Metrics("0")
    one.operation("docker", "get", "ok", 0.1)
    assert "convoy_operations_total docker get ok" not in samples(two)
    assert not [name for name in REGISTRY._names_to_collectors if name.startswith("convoy")]


def test_the_daemons_own_memory_is_shown() -> None:
    """A leak is visible where the rest is."""
    assert samples(Metrics("0"))["process_resident_memory_bytes"] > 0


def test_importing_starts_nothing() -> None:
    """No thread, no socket: the daemon forks nothing and opens nothing but by its own will."""
    script = (
        "import os, threading, convoy_py.metrics;"
        "print(threading.active_count(), sum(1 for fd in os.listdir('/proc/self/fd')"
        " if os.path.exists(f'/proc/self/fd/{fd}') and int(fd) > 2))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    threads, files = done.stdout.split()
    assert (threads, files) == ("1", "0")
