# The cloud service. Build: docker build -t ktl-cloud .
FROM python:3.12-slim
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY ktl ktl
COPY cli cli
# a smaller image without CUDA: --build-arg PIP_ARGS='--extra-index-url <the index of PyTorch's CPU wheels>'
ARG PIP_ARGS=""
RUN pip install --no-cache-dir $PIP_ARGS '.[cloud,telemetry]' \
 && useradd --create-home --uid 10001 ktl \
 && install -d -o ktl /data && rm -rf /src/*
USER ktl
WORKDIR /data
VOLUME /data
EXPOSE 8765
# Inside the container every address is beyond loopback, so a proxy or `ports: 127.0.0.1:...` has to guard it, or TLS:
# see docs/cloud.md
ENV KTL_CLOUD_HOST=0.0.0.0 KTL_CLOUD_DATABASE=sqlite:////data/ktl-cloud.db KTL_WARM_STARTS=/data/warm-starts OMP_WAIT_POLICY=PASSIVE
HEALTHCHECK --start-period=60s --interval=15s \
  CMD python -c "import ssl, urllib.request as r, os; s = 'https' if 'KTL_CLOUD_TLS_CERT' in os.environ else 'http'; r.urlopen(s + '://127.0.0.1:8765/readyz', context=ssl._create_unverified_context() if s == 'https' else None)"
STOPSIGNAL SIGTERM
ENTRYPOINT ["ktl", "cloud"]
CMD ["serve"]
