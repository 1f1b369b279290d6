# Three images of one code: gateway (without torch; steward and migrations run in it too), worker, inference.
#   docker build --target worker --build-arg PIP_EXTRA="--extra-index-url ADDRESS" .     a smaller torch, from where you have one
#   docker build --target gateway --secret id=pip,src=pip.conf .                         pip's configuration, kept out of the image

ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS base
ENV PATH=/opt/strop/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1
WORKDIR /app


# What is installed stands in a folder of its own and without the project's code: a change of code installs nothing anew.
# The two projects are installed as names with versions and requirements; their code is run from /app.
FROM base AS libraries
ARG PIP_EXTRA=""
WORKDIR /build
RUN python -m venv /opt/strop
COPY constraints.txt pyproject.toml README.md ./
COPY sdk/pyproject.toml sdk/README.md ./sdk/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --no-cache-dir ${PIP_EXTRA} --constraint constraints.txt ./sdk '.[gateway]'

FROM libraries AS libraries-torch
ARG PIP_EXTRA=""
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --no-cache-dir ${PIP_EXTRA} --constraint constraints.txt ./sdk '.[worker]'


# The code as it runs, compiled beforehand: the containers' root is read-only.
FROM base AS code
COPY catalogue.toml ./
COPY examples/shapes/base ./examples/shapes/base
COPY examples/shapes/clip ./examples/shapes/clip
COPY deploy ./deploy
COPY migrations ./migrations
COPY sdk/strop ./strop
COPY service ./service
RUN python -m compileall -q .

FROM code AS code-torch
COPY worker ./worker
RUN python -m compileall -q worker


# A user that owns the two folders that are written, and nothing else.
FROM base AS runtime
RUN groupadd --gid 10001 strop \
    && useradd --uid 10001 --gid strop --no-create-home --home-dir /tmp --shell /usr/sbin/nologin strop \
    && install -d -o strop -g strop /var/lib/strop /var/lib/strop/cache /var/lib/strop/scratch
ENV HF_HOME=/var/lib/strop/cache/hf
USER 10001:10001


FROM runtime AS gateway
COPY --from=libraries /opt/strop /opt/strop
COPY --from=code /app /app
EXPOSE 8000 8002
CMD ["sh", "-c", "exec uvicorn --factory --host ${STROP_HOST:-127.0.0.1} --port ${STROP_PORT:-8000} --no-access-log --timeout-graceful-shutdown 15 service.app:create_app"]


FROM runtime AS runtime-torch
COPY --from=libraries-torch /opt/strop /opt/strop
COPY --from=code-torch /app /app

FROM runtime-torch AS worker
CMD ["celery", "-A", "worker.app", "worker", "--loglevel", "INFO"]

FROM runtime-torch AS inference
EXPOSE 8001
CMD ["sh", "-c", "exec uvicorn --factory --host ${STROP_HOST:-127.0.0.1} --port ${STROP_INFERENCE_PORT:-8001} --no-access-log --timeout-graceful-shutdown 90 worker.inference.app:create_app"]
