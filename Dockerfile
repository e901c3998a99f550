# The image of every container of a run: the node is its entrypoint; the agent that owns a pod's
# namespaces is the same image started as `python3 -m faults.agent`.
# BASE is any image of Debian or Python with apt; where Python 3 is in it nothing is installed.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN (command -v python3 >/dev/null || \
     (apt-get update && apt-get install -y --no-install-recommends python3 && \
      rm -rf /var/lib/apt/lists/*)) && \
    mkdir -p /data /opt/antipaxos && chown 10001:10001 /data /opt/antipaxos
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/opt/antipaxos
ENTRYPOINT ["python3", "-m", "node_image"]
# That of a base image would start programs in every pod.
HEALTHCHECK NONE
USER 10001:10001
# Only what follows is built again when the sources change.
COPY --chown=10001:10001 . /opt/antipaxos/
RUN python3 -m compileall -q /opt/antipaxos
