"""What the kernel counts for the node's own programs, with real ones."""

import os
import socket
import subprocess
import sys
import time

import pytest

from nodeagent.config import Config
from nodeagent.drivers import cpu_time
from nodeagent.drivers.cpu_time import CpuMeter

SPIN = "import time\nprint(flush=True)\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass\ntime.sleep(30)"


@pytest.fixture
def config(tmp_path):
    made = Config(name="n1", mesh_address="127.0.0.1", run_dir=str(tmp_path))
    made.agent_run.mkdir()
    return made


@pytest.fixture
def program(config):
    """Starts a program of the agent's, called by its role, that spins for so many seconds and then sleeps."""
    started = []

    def start(role, seconds):
        child = subprocess.Popen([sys.executable, "-c", SPIN.format(seconds=seconds)], stdout=subprocess.PIPE)
        child.stdout.readline()  # it has begun
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "getpid", lambda: child.pid)
            cpu_time.note(config, role)
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_one_that_spins_is_told_from_one_that_sleeps(config, program):
    program("work", 20)
    program("serve", 0)
    time.sleep(0.3)
    meter = CpuMeter(config)
    meter.fractions()
    time.sleep(1.0)
    found = meter.fractions()
    assert found["work"] > 0.02, "however busy the machine is with other things"
    assert found["serve"] <= 0.01
    assert "report" not in found


def test_the_first_answer_is_of_its_whole_life_and_a_new_one_begins_anew(config, program):
    program("work", 20)
    time.sleep(0.5)
    meter = CpuMeter(config)
    assert meter.fractions()["work"] > 0.02
    program("work", 0)
    time.sleep(1.5)
    assert 0 <= meter.fractions()["work"] < 0.2, "what the one before had used is not this one's"


def test_a_number_that_somebody_else_has_now_counts_for_nobody(config, program):
    child = program("work", 0)
    (config.agent_run / "report.pid").write_text(f"{child.pid} 17")
    (config.agent_run / "serve.pid").write_text("nonsense")
    (config.agent_run / "work-bulk.pid").write_text("4194304")
    time.sleep(0.2)
    assert set(CpuMeter(config).fractions()) == {"work"}


def test_the_privileged_program_is_known_by_its_socket(config):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(config.helper_socket))
        listener.listen()
        assert set(CpuMeter(config).fractions()) == {"nethelper"}
    assert CpuMeter(config).fractions() == {}, "it has ended"


def test_a_program_is_known_by_the_number_it_left_whatever_it_calls_itself(config):
    """Celery writes over its worker's command line as soon as it runs."""
    cpu_time.note(config, "work")
    assert set(CpuMeter(config).fractions()) == {"work"}
