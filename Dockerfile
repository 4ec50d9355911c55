# The image of the worker, and of the simulator: the Makefile's steps, without what only developers need.
FROM python:3.12-slim AS build
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY producers producers
COPY worker worker
RUN python -m venv .venv
RUN .venv/bin/python -m pip install --quiet --upgrade pip==26.3
RUN .venv/bin/python -m pip install --quiet --constraint constraints.txt '.[worker]'
RUN .venv/bin/python -m pip uninstall --quiet --yes pip

FROM python:3.12-slim
# A user with an entry: Celery warns of one without. 1000 is who owns accounts.toml on most machines of one person.
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin streamstop
WORKDIR /app
COPY --from=build /app/.venv .venv
ENV PATH=/app/.venv/bin:$PATH
USER 1000:1000
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "-m", "streamstop_worker.health"]
CMD ["celery", "-A", "streamstop_worker", "worker"]
