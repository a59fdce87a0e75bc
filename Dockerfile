# The same executable as `bun run build`, in a container that runs as nobody in particular.
#
#   docker build -t mlpe .
#   docker run --network host -v "$PWD":/project:ro -v mlpe-data:/data -v mlpe-keys:/keys mlpe
#
# The server binds loopback only until OIDC and TLS are built, so it is reached through the host's network.

FROM node:22-bookworm-slim AS build
WORKDIR /build
COPY package.json bun.lock bunfig.toml ./
RUN npx --yes bun@1.4.4 install --frozen-lockfile
COPY . .
RUN npx --yes bun@1.4.4 run build
# Directories of the running user, made here because the final stage needs no shell.
RUN mkdir -p /volumes/data /volumes/keys && chmod 700 /volumes/data /volumes/keys

# ONNX Runtime needs glibc, libgcc and libstdc++; this image has all three.
FROM debian:12-slim
COPY --from=build --chown=10001:10001 /volumes/ /
COPY --from=build --chmod=755 /build/dist/mlpe /usr/local/bin/mlpe
COPY LICENSE /usr/share/doc/mlpe/LICENSE
ENV HOME=/data MLPE_DATA=/data/mlpe MLPE_CONFIG=/project/mlpe.yaml MLPE_KEY_FILE=/keys/mlpe.key
WORKDIR /project
# The key that opens the data lives in a volume of its own: whoever copies the data does not copy it along.
VOLUME ["/data", "/keys"]
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["/usr/local/bin/mlpe", "health"]
ENTRYPOINT ["/usr/local/bin/mlpe"]
CMD ["run"]
