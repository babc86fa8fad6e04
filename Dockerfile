# syntax=docker/dockerfile:1
#
# The image of Tidegate: one static program and nothing else.
#
#   docker build --tag tidegate:0.1.0 .
#   docker build --tag tidegate:0.1.0 --platform linux/arm64 .
#
# The base image is an argument, so that it can come from a mirror, be pinned by digest, or be replaced. It has to be a
# Debian, bookworm or newer, with rustup and the Rust that Cargo.toml asks for, or a newer one.
ARG RUST_IMAGE=rust:1.95-bookworm
# What the program is put into. `scratch` is nothing at all; root certificates are built into the program.
ARG BASE_IMAGE=scratch

# The compiler always runs on the machine that builds, whatever the platform of the image: no emulation.
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=tidegate-target-$TARGETARCH \
    .ci/static "$TARGETARCH" /out/usr/local/bin/tidegate

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="tidegate" \
      org.opencontainers.image.description="Manages a company's connections to outside APIs as Kubernetes resources" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/ /
# Set here too, because `scratch` has no PATH and the entry point is a name.
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER 65532:65532
ENTRYPOINT ["tidegate"]
