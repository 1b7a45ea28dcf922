"""deploy/examples/airtable, as its README says: the real server, with a stand-in for Airtable's whoami."""

import http.server
import json
import re
import subprocess
import threading

import bench as benches
import document
import harness

HOST = "airtable.example.com"
README = harness.ROOT / "deploy" / "examples" / "airtable" / "README.md"
NETWORK = "172.30.0.1"
PORT = 8099
OPERATOR, CALLER, STRANGER = (f"pat{name}.0123456789abcdef" for name in ("Operator", "Caller", "Stranger"))
USERS = {OPERATOR: "usrOperator", CALLER: "usrCaller", STRANGER: "usrStranger"}
URL = f"https://{HOST}/mcp"


def run(bench, clone, environment):
    shell = document.Shell(clone, environment)
    server = http.server.ThreadingHTTPServer((NETWORK, PORT), Whoami)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for block in document.blocks(README):
            bench.check(block.name, lambda block=block: play(shell, block))
            if ".env.example" in block.commands:
                fill_in(clone / "deploy" / ".env")
        benches.wait_for(lambda: statuses(bench, CALLER) != [502], "the service")
        bench.check("whom the operator named comes in", lambda: same(statuses(bench, CALLER), [200, 202, 200]))
        bench.check("others with an account do not", lambda: same(statuses(bench, STRANGER), [401]))
        bench.check("nor does who has none", lambda: same(statuses(bench, "patNobody.0"), [401]))
        bench.check("the README shows what print-config prints", lambda: shown(environment))
    finally:
        shell.close()
        server.shutdown()
        server.server_close()


def play(shell, block):
    well, output = shell.run(block.commands)
    assert well, output
    block.judge(output)


def same(found, wanted):
    assert found == wanted, found


class Whoami(http.server.BaseHTTPRequestHandler):
    """Says whose a token is, as Airtable does."""

    def do_GET(self):
        user = USERS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        body = json.dumps({"id": user} if user else {"error": {"type": "AUTHENTICATION_REQUIRED"}}).encode()
        self.send_response(200 if user else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def fill_in(file):
    """What the operator writes into .env, and where Airtable is here."""
    text = file.read_text()
    for name, value in {"AIRTABLE_API_TOKEN": OPERATOR, "MCP_GATEWAY_ALLOW_CLIENTS": "usrCaller,usrOperator"}.items():
        text, changed = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.M)
        assert changed == 1, name
    text += f"MCP_GATEWAY_HTTP_URL=http://{NETWORK}:{PORT}/v0/meta/whoami\nMCP_GATEWAY_ALLOW_PRIVATE_ADDRESSES=on\n"
    # This machine's port is the other service's.
    file.write_text(text + "LOCAL_PORT=8081\n")


def send(bench, token, session, message):
    """Posts a message; its status, its session and its text."""
    head = bench.out / "airtable-head"
    text = subprocess.run(
        ["curl", "-sS", "--cacert", bench.authority, URL, "-D", head, "-H", "Content-Type: application/json",
         "-H", "Accept: application/json, text/event-stream", "-H", f"Authorization: Bearer {token}",
         *(["-H", f"Mcp-Session-Id: {session}"] if session else []),
         "-d", json.dumps({"jsonrpc": "2.0"} | message)],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout
    heads = head.read_text()
    session = re.search(r"^mcp-session-id: *(\S+)", heads, re.M | re.I)
    return int(heads.split()[1]), session and session[1], text


def statuses(bench, token):
    """How a caller with this token fares: the statuses up to the list of tools."""
    initialize = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    status, session, _ = send(bench, token, None, {"id": 1, "method": "initialize", "params": initialize})
    if status != 200:
        return [status]
    noted, _, _ = send(bench, token, session, {"method": "notifications/initialized"})
    listed, _, text = send(bench, token, session, {"id": 2, "method": "tools/list"})
    assert '"list_records"' in text, text
    return [status, noted, listed]


def shown(environment):
    (block,) = re.findall(r"^```json\n(.*?)^```\n", README.read_text(), re.M | re.S)
    printed = subprocess.run(
        ["podman", "exec", "airtable", "mcp-gateway", "print-config", "--client", "cursor"],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout
    assert json.loads(block) == json.loads(printed), printed
