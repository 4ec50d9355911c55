# The image of the worker, and of the simulator: the Makefile's steps, without what only developers need.
FROM python:3.12-slim AS build
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY producers producers
COPY worker worker
COPY simulator simulator
RUN python -m venv .venv
RUN sed '/^# Development/,$d' constraints.txt > image.txt
RUN .venv/bin/python -m pip install --quiet --require-hashes --only-binary :all: --requirement image.txt
RUN .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation .
RUN .venv/bin/python -m pip uninstall --quiet --yes hatchling pathspec pluggy tomlkit trove-classifiers pip

FROM python:3.12-slim
# A user with an entry: Celery warns of one without. 1000 is who owns accounts.toml on most machines of one person.
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin streamstop
WORKDIR /app
COPY --from=build /app/.venv .venv
ENV PATH=/app/.venv/bin:$PATH
USER 1000:1000
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "-m", "streamstop_worker.health"]
CMD ["celery", "-A", "streamstop_worker", "worker"]
