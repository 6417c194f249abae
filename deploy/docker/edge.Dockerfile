# The gateway image: the edge agent alone. Build from the repository root:
#   docker build -f deploy/docker/edge.Dockerfile -t wattlease-edge .
# Run: docker run -v /etc/wattlease:/etc/wattlease:ro -v wattlease-edge:/data --device /dev/ttyUSB0 wattlease-edge
FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 EDGE_DATA_DIR=/data
WORKDIR /app
COPY pyproject.toml README.md ./
COPY edge_agent edge_agent
COPY device_profiles device_profiles
COPY cloud_api/__init__.py cloud_api/__init__.py
RUN pip install ".[edge]" && useradd --system --home /data --create-home --groups dialout wattlease
USER wattlease
VOLUME /data
CMD ["edge-agent", "run", "--site", "/etc/wattlease/site.yaml"]
