# The project in a container: the steps of the README on Debian 12, with the pins of envs/.
# docs/workflow.md, "In a container", says how it is used and what of it was tried.
FROM debian:12-slim

SHELL ["/bin/bash", "-euo", "pipefail", "-c"]

# Debian's packages follow its stable release: their names are pinned here, their versions by the release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git make python3.11 python3.11-venv gcc libc6-dev \
        libx11-6 libxrender1 libxxf86vm1 libxfixes3 libxi6 libxkbcommon0 libsm6 libice6 libgl1 libgomp1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /aligncvc

# The environment first: it is made anew only where its pins change.
COPY Makefile ./
COPY envs envs
COPY src src
RUN make env

COPY . .

CMD ["make", "demo"]
