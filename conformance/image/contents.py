"""What is in the images, before anything runs."""

import os
import subprocess
from pathlib import Path

from podman import GATEWAY, NODE, PYTHON

MOST_BYTES = 15_000_000
USER = "65532:65532"


def checks(bench):
    mounted = Path(bench.podman("image", "mount", GATEWAY).stdout.strip())
    try:
        yield "the image is at most 15 MB", lambda: small(bench)
        yield "it holds the program and nothing else", lambda: nothing_else(mounted)
        yield "the program is static", lambda: static(mounted)
        for image in (GATEWAY, NODE, PYTHON):
            yield f"{image} is not root's", lambda image=image: not_root(bench, image)
            yield f"{image} has a health check", lambda image=image: has_health_check(bench, image)
        if os.environ.get("REBUILD"):
            yield "built from nothing it is the same program", lambda: same_again(bench, mounted)
    finally:
        bench.podman("image", "unmount", GATEWAY)


def small(bench):
    size = bench.image(GATEWAY)["Size"]
    print(f"{size / 1e6:.1f} MB", flush=True)
    assert size <= MOST_BYTES, f"{size} bytes"


def nothing_else(mounted):
    files = [path for path in mounted.rglob("*") if not path.is_dir()]
    assert files == [mounted / "mcp-gateway"], files


def static(mounted):
    headers = subprocess.run(
        ["readelf", "--program-headers", "--dynamic", mounted / "mcp-gateway"],
        check=True, capture_output=True, text=True,
    ).stdout
    assert "LOAD" in headers
    assert "INTERP" not in headers and "NEEDED" not in headers, headers


def not_root(bench, image):
    assert bench.image(image)["User"] == USER


def has_health_check(bench, image):
    test = bench.image(image)["Healthcheck"]["Test"]
    assert test[0] == "CMD" and test[1].endswith("mcp-gateway") and test[2] == "health", test


def same_again(bench, mounted):
    again = "localhost/mcp-gateway-again"
    subprocess.run(
        [
            "buildah", "build", "--isolation", "chroot", "--format", "docker", "--timestamp", "0",
            "--volume", f"{Path.home()}/.cargo/registry:/cargo/registry",
            "--build-arg", "BUILDER_IMAGE=localhost/base/builder",
            "-f", "deploy/Dockerfile", "-t", again, ".",
        ],
        check=True, cwd=bench.here.parent.parent, env=bench.environment, capture_output=True,
    )
    second = Path(bench.podman("image", "mount", again).stdout.strip())
    try:
        assert (second / "mcp-gateway").read_bytes() == (mounted / "mcp-gateway").read_bytes()
        # What built it stands in an image's history, and so in its id; not in what it holds, nor in how
        # it is run.
        for part in ("RootFS", "Config"):
            assert bench.image(again)[part] == bench.image(GATEWAY)[part], part
    finally:
        bench.podman("image", "unmount", again)
        bench.podman("image", "rm", again)
