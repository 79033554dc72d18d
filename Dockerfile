# The root filesystem of the managed plugin: the daemon, its interpreter and the tools it starts. Nothing else.
# BASE is any Debian from 12 on, from a registry or imported: plugin/build makes one where no registry is in reach.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      binutils btrfs-progs ca-certificates e2fsprogs python3 python3-pip tzdata xfsprogs
WORKDIR /build
COPY requirements.lock ./
RUN python3 -m pip install --quiet --require-hashes --only-binary :all: --no-compile --no-cache-dir \
      --root-user-action ignore --target site --requirement requirements.lock
COPY convoy_py LICENSE site/convoy_py/
COPY plugin/assemble ./
RUN ./assemble site /rootfs

FROM scratch
COPY --from=build /rootfs /
ENTRYPOINT ["/usr/bin/convoy", "daemon"]
