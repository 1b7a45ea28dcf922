# Where the images of the tests are kept, for the programs of this folder to source at the project's root:
# $place is set, and buildah and podman are pointed to it.

place=$(realpath -m "${CARGO_TARGET_DIR:-target}")/conformance/image
export CONTAINERS_STORAGE_CONF=$place/storage.conf

# Whether there is an image; anything but yes and no is a failure, which ends the run.
exists() {
    local status=0
    podman image exists "$1" || status=$?
    ((status <= 1)) || exit "$status"
    return "$status"
}
