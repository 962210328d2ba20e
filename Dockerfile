# The cloud service. Build: docker build -t ktl-cloud .
FROM python:3.12.11-slim-bookworm
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY ktl ktl
COPY cli cli
# a smaller image without CUDA: --build-arg PIP_ARGS='--extra-index-url <the index of PyTorch's CPU wheels>'
ARG PIP_ARGS=""
# for Ray Serve: EXTRAS=cloud,ray,telemetry and PACKAGES=wget (Debian's), see deploy/README.md
ARG EXTRAS=cloud,telemetry
ARG PACKAGES=""
RUN if [ -n "$PACKAGES" ]; then apt-get update && apt-get install -y --no-install-recommends $PACKAGES && rm -rf /var/lib/apt/lists/*; fi \
 && pip install --no-cache-dir $PIP_ARGS ".[$EXTRAS]" \
 && useradd --create-home --uid 10001 ktl \
 && install -d -o ktl /data && rm -rf /src/*
USER ktl
WORKDIR /data
VOLUME /data
EXPOSE 8765
# Inside the container every address is beyond loopback, so a proxy or `ports: 127.0.0.1:...` has to guard it, or TLS:
# see docs/how-to/secure-the-cloud.md
ENV KTL_CLOUD_HOST=0.0.0.0 KTL_CLOUD_DATABASE=sqlite:////data/ktl-cloud.db KTL_WARM_STARTS=/data/warm-starts OMP_WAIT_POLICY=PASSIVE
HEALTHCHECK --start-period=60s --interval=15s --timeout=10s CMD ["ktl", "cloud", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["ktl", "cloud"]
CMD ["serve"]
