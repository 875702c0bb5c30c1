# One operator, one process, not root. Volumes: configuration (read-only is fine), certificates, data, white lists.
#   docker build -t mssante .
#   docker run -v ./operator_config:/srv/mssante/operator_config:ro -v ./certs:/srv/mssante/certs:ro \
#              -v mssante-data:/srv/mssante/data -v mssante-lists:/srv/mssante/whitelist -p 25:25 -p 587:587 -p 993:993 mssante
# Private keys must be readable by uid 10001 and by nobody else (mode 0600).
FROM python:3.11-slim

COPY pyproject.toml constraints.txt README.md LICENSE /usr/src/mssante/
COPY mssante /usr/src/mssante/mssante
RUN pip install --no-cache-dir --disable-pip-version-check --constraint /usr/src/mssante/constraints.txt /usr/src/mssante \
 && rm -r /usr/src/mssante \
 && useradd --system --uid 10001 --user-group --no-create-home --home-dir /srv/mssante --shell /usr/sbin/nologin mssante \
 && mkdir -p /srv/mssante/operator_config /srv/mssante/certs /srv/mssante/data /srv/mssante/whitelist \
 && chown mssante:mssante /srv/mssante/data /srv/mssante/whitelist \
 && chmod 700 /srv/mssante/data

WORKDIR /srv/mssante
USER mssante
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
VOLUME ["/srv/mssante/operator_config", "/srv/mssante/certs", "/srv/mssante/data", "/srv/mssante/whitelist"]
EXPOSE 25 143 465 587 993
STOPSIGNAL SIGTERM

# 200: the server answers and its white list can be used; 503: no mail between operators. listen.metrics stays at its default.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]

ENTRYPOINT ["mssante"]
CMD ["serve", "operator_config"]
