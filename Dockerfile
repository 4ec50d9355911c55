# The image of the worker, the HTTP service and the simulator: what they need, and nothing to build or install with.
FROM python:3.12-slim AS build
WORKDIR /app
COPY requirements requirements
RUN python -m venv tools
RUN tools/bin/python -m pip install --quiet --require-hashes --only-binary :all: --requirement requirements/build.txt
RUN python -m venv --without-pip .venv
RUN tools/bin/python -m pip --python .venv install --quiet --require-hashes --only-binary :all: --requirement requirements/worker.txt
COPY pyproject.toml README.md LICENSE ./
COPY producers producers
COPY worker worker
COPY server server
COPY simulator simulator
RUN tools/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir wheels .
RUN tools/bin/python -m pip --python .venv install --quiet --no-deps wheels/*.whl

FROM python:3.12-slim
# A user with an entry: Celery warns of one without. 1000 is who owns accounts.toml on most machines of one person.
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin streamstop
WORKDIR /app
COPY --from=build /app/.venv .venv
ENV PATH=/app/.venv/bin:$PATH
USER 1000:1000
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "-m", "streamstop_worker.health"]
CMD ["celery", "-A", "streamstop_worker", "worker"]
