"""The authorization server, and gateways with options of their own, for as long as they are needed."""

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures"))
import harness
from harness import Failed

READY_WITHIN = 30

# What the checks expect of tokens: one scope for all, and one more for some tools.
OAUTH_SCOPES = ["--required-scopes", "mcp:use", "--scope", "tools/call:filler_*=mcp:delete"]


SECRET = "INTROSPECTION_CLIENT_SECRET"


def opaque_tokens(server):
    """Options of a gateway that asks the authorization server about each token."""
    return [
        "--auth", "introspection",
        "--issuer", server["issuer"],
        "--introspection-client-id", server["client_id"],
        "--introspection-client-secret-env", SECRET,
        "--verdict-time", "2s",
    ]


def environment(server):
    return {SECRET: server["client_secret"]}


def jwts(server):
    """Options of a gateway that judges the authorization server's JWTs by itself."""
    return ["--auth", "jwt", "--issuer", server["issuer"]]


@contextlib.contextmanager
def authorization_server(node, place, resources, log):
    """Runs authorization_server.mjs; yields its issuer and the client that may ask about tokens."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [node, place / "authorization_server.mjs", *resources],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
        )
        try:
            if not select.select([process.stdout], [], [], READY_WITHIN)[0]:
                raise Failed(f"the authorization server was not ready after {READY_WITHIN} s")
            line = process.stdout.readline()
            if not line:
                raise Failed(f"the authorization server did not start:\n{log.read_text()}")
            yield json.loads(line)
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def gateway(binary, port, command, log, options, environment):
    """Runs a gateway on `port`, which its options may name, and ends it and all that it started."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binary, "--port", str(port), *map(str, options), "--", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | environment,
        )
        try:
            harness.wait_until_ready(process, port, log, READY_WITHIN)
            yield
        finally:
            harness.stop(process, log)


def run_checks(command, log):
    """Runs a program that prints a line for each check.

    Answers how many passed, how many failed, and the lines that say why.
    """
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
        )
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
        raise Failed(f"{log.stem} did not end within {late.timeout} s:\n{output}") from None
    log.write_text(done.stdout)
    lines = done.stdout.splitlines()
    passed = sum(line.startswith("ok ") for line in lines)
    failed = sum(line.startswith("not ok ") for line in lines)
    if (done.returncode == 0) != (failed == 0 and passed > 0):
        raise Failed(f"{log.stem} ended with {done.returncode}:\n{done.stdout}")
    return passed, failed, [line for line in lines if not line.startswith("ok ")]


def report(results):
    """Prints what came of the checks, by what they are of; answers whether all passed."""
    rows = [[name, passed, failed] for name, (passed, failed, _) in results.items()]
    harness.say("")
    harness.say(harness.table(["checks", "passed", "failed"], rows))
    for name, (_, failed, lines) in results.items():
        if failed:
            harness.say("\n".join(["", f"{name}:", *lines]))
    all_failed = sum(failed for _, failed, _ in results.values())
    harness.say(f"\n{sum(passed for passed, _, _ in results.values())} passed, {all_failed} failed")
    return all_failed == 0
