# The cloud image: API, worker and commands. Build from the repository root:
#   docker build -f deploy/docker/cloud.Dockerfile -t wattlease-cloud .
FROM node:24-slim AS assets
WORKDIR /src
COPY cloud_api/web/package.json cloud_api/web/package-lock.json cloud_api/web/
COPY deploy/assets.sh deploy/
RUN npm ci --prefix cloud_api/web --ignore-scripts
COPY cloud_api/web cloud_api/web
RUN NPM=npm sh deploy/assets.sh

FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY pyproject.toml README.md ./
COPY cloud_api cloud_api
COPY device_profiles device_profiles
COPY edge_agent/__init__.py edge_agent/__init__.py
COPY --from=assets /src/cloud_api/web/static/vendor cloud_api/web/static/vendor
RUN pip install ".[cloud]" && useradd --system --home /data --create-home wattlease
USER wattlease
VOLUME /data
EXPOSE 8000
CMD ["cloud-api", "serve"]
