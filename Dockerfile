# syntax=docker/dockerfile:1
# The image of all roles: serve (default), operator, gate, and the commands.

FROM rust:1.95-slim-bookworm AS build
# jemalloc is built from C by its own makefile, which the slim image lacks.
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The registry and the target folder are caches of the builder, so that a change of one file compiles one package. The
# target folder is not part of the image's layers, hence the copy out of it in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked \
    && cp target/dist/echo-phoenix /usr/local/bin/echo-phoenix \
    # What a new named volume takes its owner from.
    && install -d -m 0750 -o 65532 -g 65532 /data

# Debian slim and not distroless: the very libc that the binary was linked against, and a shell for the night when
# somebody has to look at the ledger (`echo-phoenix verify`, ls, df) on the machine itself.
# Nothing is installed into it: TLS, SQLite and compression are inside the binary.
FROM debian:bookworm-slim
# Whom outgoing TLS (Airtable, Stripe) believes.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/echo-phoenix /usr/local/bin/echo-phoenix
COPY --from=build --chown=65532:65532 /data /data

# All interfaces, IPv6 and IPv4: a container's loopback is reachable by nobody.
ENV ECHO_LISTEN=[::]:8080 \
    ECHO_DATA_DIR=/data
# A number, so that Kubernetes can check runAsNonRoot without reading /etc/passwd.
USER 65532:65532
VOLUME /data
# The API, and the proxies' verdicts when ECHO_GATE_LISTEN is set.
EXPOSE 8080 8081
# For a plain container engine; Fly.io and Kubernetes probe /livez themselves.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["echo-phoenix", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["echo-phoenix"]
CMD ["serve"]
