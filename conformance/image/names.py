"""Names and certificate authorities, in an image that has neither files for them nor libraries."""

import contextlib
import http.server
import json
import socket
import ssl
import struct
import subprocess
import threading
from functools import partial

import harness
from podman import GATEWAY

BY_FILE = "issuer-in-hosts.test"
BY_DNS = "issuer-in-dns.test"
UNKNOWN = "issuer-nowhere.test"
# Lets a socket have an address that the machine gets only with the first container.
IP_FREEBIND = 15
# RFC 7517, appendix A.1.
KEY = {
    "kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}


def checks(bench):
    network = json.loads(bench.podman("network", "inspect", "podman").stdout)[0]
    host = network["subnets"][0]["gateway"]
    certificate = authority(bench.out)
    with issuer(certificate) as port, name_server(host):
        start = partial(starts, bench, certificate, host, port)
        yield "a name is found in /etc/hosts", lambda: start(BY_FILE)
        yield "a name is found by DNS", lambda: start(BY_DNS)
        yield "a name that there is not is told", lambda: start(UNKNOWN, fails="lookup")
        yield (
            "an authority that was not named is not trusted",
            lambda: start(BY_DNS, trusted=False, fails="certificate"),
        )


def starts(bench, certificate, host, port, name, trusted=True, fails=None):
    """Starts a gateway, which tries its issuer before it serves."""
    options = ["--dns", host, "--add-host", f"{BY_FILE}:{host}"]
    options += ["--volume", f"{certificate}:/authority.pem:ro"]
    if trusted:
        options += ["--env", "SSL_CERT_FILE=/authority.pem"]
    command = [
        "--demo", "--auth", "jwt", "--issuer", f"https://{name}:{port}", "--allow-private-addresses",
        "--public-url", "https://mcp.example.com/mcp",
    ]
    with bench.container("names", GATEWAY, *command, options=options, ready=not fails) as container:
        if fails:
            assert container.exit_code() == 1
            assert fails in container.logs(), container.logs()
        else:
            tried = [line for line in container.logs().splitlines() if '"event":"verifier-tried"' in line]
            assert tried and all('"outcome":"success"' in line for line in tried), container.logs()


def authority(place):
    """A certificate that vouches for itself, with its key beside it."""
    file = place / "authority.pem"
    names = ",".join(f"DNS:{name}" for name in (BY_FILE, BY_DNS, UNKNOWN))
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=issuer", "-addext", f"subjectAltName={names}",
            "-addext", "basicConstraints=critical,CA:FALSE",
            "-keyout", file.with_suffix(".key"), "-out", file,
        ],
        check=True, capture_output=True,
    )
    return file


@contextlib.contextmanager
def issuer(certificate):
    """An authorization server, as far as a gateway asks it; yields its port."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            origin = f"https://{self.headers['Host']}"
            if self.path == "/jwks":
                answer = {"keys": [KEY]}
            else:
                answer = {
                    "issuer": origin, "jwks_uri": f"{origin}/jwks",
                    "authorization_endpoint": f"{origin}/authorize", "token_endpoint": f"{origin}/token",
                    "response_types_supported": ["code"],
                }
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    port = harness.free_port()
    server = http.server.ThreadingHTTPServer(("0.0.0.0", port), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def name_server(address):
    """A name server that knows one name, of an IPv4 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        server.bind((address, 53))

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    query, client = server.recvfrom(512)
                    server.sendto(answer(query, address), client)

        threading.Thread(target=serve, daemon=True).start()
        yield


def answer(query, address):
    """RFC 1035, section 4."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1:at + 1 + length].decode().lower())
        at += 1 + length
    question = query[12:at + 5]
    kind = struct.unpack("!H", query[at + 1:at + 3])[0]
    known = ".".join(labels) == BY_DNS
    records = b""
    if known and kind == 1:
        records = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(address)
    # An answer, recursion available; 3: there is no such name.
    flags = 0x8180 | (0 if known else 3)
    counts = struct.pack("!HHHH", 1, 1 if records else 0, 0, 0)
    return query[:2] + struct.pack("!H", flags) + counts + question + records
