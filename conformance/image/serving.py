"""Containers that serve: what they may, whom they serve, and what they write."""

import json
from pathlib import Path

from podman import GATEWAY, HARDENED, NODE, PYTHON, TOKEN, ULIMITS

DEMO = ["--env", f"DEMO_API_TOKEN={TOKEN}"]
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
NOTHING = "0000000000000000"


def checks(bench):
    with bench.container("demo", GATEWAY, "--demo", options=DEMO) as container:
        yield "init and gateway are all that runs", lambda: two_processes(container)
        yield "no process is root's, or can gain privileges", lambda: no_privileges(container)
        yield "the root cannot be written", lambda: read_only(container)
        yield "there is no shell in it", lambda: no_shell(container)
        yield "podman's health check passes", lambda: healthy(bench, container)
        yield "`mcp-gateway health` says so inside", lambda: says_healthy(container)
        for version in ("1", "2"):
            yield (
                f"the official client {version} has a session",
                lambda version=version: bench.mjs("session.mjs", container.url, TOKEN, version),
            )
        yield "podman logs has who was let in, and who not", lambda: on_record(container)
    yield "subcommands run as PID 1 too", lambda: subcommands(bench)
    # The servers' own temporary files; npx and uvx have a volume.
    options = [
        "--tmpfs", "/tmp", "--env", "MCP_GATEWAY_ALLOW_UNAUTHENTICATED=true",
        "--env", f"MCP_GATEWAY_ENV=NODE_EXTRA_CA_CERTS={CERTIFICATES},SSL_CERT_FILE={CERTIFICATES}",
    ]
    npx = ["--", "npx", "-y", "@modelcontextprotocol/server-everything@2026.8.31"]
    uvx = ["--", "uvx", "mcp-server-time@2026.10.19", "--local-timezone", "UTC"]
    for server, image, command in (("everything", NODE, npx), ("time", PYTHON, uvx)):
        with bench.container(server, image, *command, options=options) as container:
            yield (
                f"a server that {command[1]} starts answers the official client",
                lambda url=container.url, server=server: bench.mjs("typescript.mjs", url, server, "auto"),
            )


def two_processes(container):
    processes = container.processes()
    assert len(processes) == 2 and 1 in processes, processes
    commands = {tuple(process.command) for process in processes.values()}
    assert commands == {(b"/mcp-gateway", b"--demo")}, commands


def no_privileges(container):
    for process in container.processes().values():
        status = process.status
        assert status["Uid"].split() == ["65532"] * 4 and status["Gid"].split() == ["65532"] * 4, status
        assert status["NoNewPrivs"] == "1", status
        assert status["CapEff"] == status["CapBnd"] == status["CapPrm"] == NOTHING, status


def read_only(container):
    mounts = Path(f"/proc/{container.main_process()}/mounts").read_text().splitlines()
    [options] = [options for _, at, _, options, *_ in map(str.split, mounts) if at == "/"]
    assert "ro" in options.split(","), options


def no_shell(container):
    for shell in ("sh", "/bin/sh", "bash", "busybox"):
        assert container.exec(shell, "-c", "true").returncode != 0, shell


def healthy(bench, container):
    done = bench.podman("healthcheck", "run", container.name, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def says_healthy(container):
    done = container.exec("/mcp-gateway", "health")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1, done.stdout + done.stderr


def on_record(container):
    status, _, _ = container.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, token=f"not {TOKEN}"[:20])
    assert status == 401, status
    log = container.logs()
    assert TOKEN not in log, "the token is in the log"
    lines = [json.loads(line) for line in log.splitlines() if '"audit":"AUTH"' in line]
    outcomes = {line.get("outcome") for line in lines}
    assert {"success", "failure"} <= outcomes, lines


def subcommands(bench):
    for words, code, said in (
        (["--version"], 0, "mcp-gateway"),
        (["print-config", "--client", "cursor", "--demo"], 0, "mcpServers"),
        (["--no-such-option"], 2, "--no-such-option"),
    ):
        done = bench.podman("run", "--rm", *HARDENED, *ULIMITS, GATEWAY, *words, check=False)
        assert done.returncode == code and said in done.stdout + done.stderr, done
