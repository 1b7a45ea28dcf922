"""How containers end, and what becomes of the processes in them."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import podman
from podman import GATEWAY, HARDENED, PREFIX, TOKEN, ULIMITS, eventually, processes_of
import harness

# Of deploy/Dockerfile.template, with the server of server/ in it.
STUBBORN = "localhost/mcp-gateway-stubborn"
TOKENS = ["--env", "SERVICE_NAME=stubborn", "--env", f"STUBBORN_API_TOKEN={TOKEN}"]
DEMO = ["--env", f"DEMO_API_TOKEN={TOKEN}"]
CHILDREN = 100
# What Docker gives a container.
GRACE = "10"


def checks(bench):
    build(bench)
    yield "SIGTERM: a call in flight is answered, and the exit code is 0", lambda: drained(bench, GATEWAY, [])
    yield "Ctrl-C in a terminal is one signal, not two", lambda: interrupted(bench)
    harness.run_quietly(
        ["cargo", "build", "--locked", "-p", "gateway-smol"], "cargo build", cwd=harness.ROOT
    )
    # No image has the other binary. In a place where libraries are it can stand in for the first.
    smol = harness.TARGET / "debug" / "mcp-gateway-smol"
    for binary, options in {
        "mcp-gateway": [],
        "mcp-gateway-smol": ["--volume", f"{smol}:/usr/local/bin/mcp-gateway:ro"],
    }.items():
        yield from checks_of(bench, binary, options)


def checks_of(bench, binary, options):
    yield f"{binary}: a drain answers what is in flight", lambda: drained(bench, STUBBORN, options)
    yield f"{binary}: it ends within ten seconds, whatever the server does", lambda: stubborn(bench, options)
    with bench.container("children", STUBBORN, options=[*TOKENS, *options]) as container:
        yield f"{binary}: {CHILDREN} orphans leave no zombie", lambda: orphans(container)
        yield f"{binary}: {CHILDREN} sessions leave no zombie", lambda: sessions(container)
        yield f"{binary}: a session takes along what left its group", lambda: swept(container)
    yield f"{binary}: killed, it takes all along", lambda: killed(bench, options)
    yield f"{binary}: so it does below an init of the engine's", lambda: killed(bench, ["--init", *options])


def build(bench):
    subprocess.run([bench.here / "bases", "debian"], check=True)
    subprocess.run(
        [
            "buildah", "build", "--isolation", "chroot", "--format", "docker",
            "--build-arg", f"GATEWAY_IMAGE={GATEWAY}", "--build-arg", "BASE_IMAGE=localhost/base/debian",
            "-f", bench.here.parent.parent / "deploy/Dockerfile.template", "-t", STUBBORN,
            bench.here / "server",
        ],
        check=True, env=bench.environment, capture_output=True,
    )


@contextlib.contextmanager
def slow_call(container):
    """Has the demo server at work on a call, and checks that it is answered."""
    session = container.initialize()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(container.call, session, "slow-with-progress", steps=1, milliseconds=3000)
        eventually("the call is in flight", lambda: calls(container) == 1)
        yield
        status, _, body = call.result()
    assert status == 200 and json.loads(body)["result"]["content"], (status, body)


def calls(container):
    """How many calls were admitted, by the audit trail."""
    lines = container.logs().splitlines()
    return sum('"audit":' in line and '"method":"tools/call"' in line for line in lines)


def drained(bench, image, options):
    with bench.container("drained", image, "--demo", options=[*DEMO, *options]) as container:
        with slow_call(container):
            bench.podman("stop", "--time", GRACE, container.name)
        assert container.exit_code() == 0


def stubborn(bench, options):
    with bench.container("stubborn", STUBBORN, options=[*TOKENS, *options]) as container:
        session = container.initialize()
        container.call(session, "stay")
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(container.call, session, "never")
            eventually("the call is in flight", lambda: calls(container) == 2)
            # One second more, and podman would kill: the exit code would be 137.
            bench.podman("stop", "--time", GRACE, container.name)
            status, _, body = call.result()
        assert status == 200 and '"error":' in body, (status, body)
        assert container.exit_code() == 0


def interrupted(bench):
    container = podman.Container(bench, f"{PREFIX}-terminal", harness.free_port())
    master, terminal = pty.openpty()
    command = [
        "podman", "--runtime", "runc", "run", "-it", "--name", container.name, *HARDENED, *ULIMITS,
        "--publish", f"127.0.0.1:{container.port}:8080", *DEMO, GATEWAY, "--demo",
    ]
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        env=bench.environment,
    )
    os.close(terminal)
    # Somebody has to read what is written to the terminal.
    reader = threading.Thread(target=drain, args=(master,), daemon=True)
    reader.start()
    try:
        eventually("the container is there", lambda: exists(bench, container))
        container.wait_until_ready()
        with slow_call(container):
            os.write(master, b"\x03")
        assert process.wait(podman.PATIENCE) == 0, container.logs()
    finally:
        process.kill()
        process.wait()
        bench.podman("rm", "--force", "--volumes", "--time", "0", container.name)
        os.close(master)


def drain(master):
    with contextlib.suppress(OSError):
        while os.read(master, 4096):
            pass


def exists(bench, container):
    return bench.podman("container", "exists", container.name, check=False).returncode == 0


def orphans(container):
    session = container.initialize()
    container.call(session, "orphans")
    # Init, gateway and server.
    eventually("the orphans are reaped", lambda: len(container.processes()) == 3)
    assert not any(it.is_zombie for it in container.processes().values()), container.processes()
    end(container, session)
    eventually("the server has ended", lambda: len(container.processes()) == 2)


def sessions(container):
    def one(_):
        end(container, container.initialize())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(CHILDREN)))
    eventually("all have ended and are reaped", lambda: len(container.processes()) == 2)


def swept(container):
    session = container.initialize()
    container.call(session, "stay")
    assert len(container.processes()) == 5, container.processes()
    end(container, session)
    eventually("all three have ended", lambda: len(container.processes()) == 2)


def end(container, session):
    headers = {"Mcp-Session-Id": session, "Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(container.url, method="DELETE", headers=headers)
    with urllib.request.urlopen(request, timeout=podman.PATIENCE) as response:
        assert response.status == 204, response.status


def killed(bench, options):
    with bench.container("killed", STUBBORN, options=[*TOKENS, *options]) as container:
        container.call(container.initialize(), "stay")
        namespace = container.namespace()
        processes = container.processes()
        own = processes[1].command[0].endswith(b"mcp-gateway")
        assert own != ("--init" in options), processes[1].command
        # Where the init is another program the gateway has a guard, and only there.
        guards = [it for it in processes.values() if b"guard" in it.command]
        assert len(guards) == (0 if own else 1), processes
        os.kill(container.gateway().number, signal.SIGKILL)
        assert container.exit_code() == 128 + signal.SIGKILL
        eventually("nothing is left", lambda: not processes_of(namespace))
