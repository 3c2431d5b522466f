# One image for every process of the control plane; docker-compose.yml says which of them a container is.
FROM debian:12.12-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libmariadb-dev pkg-config python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY requirements/base.txt requirements/constraints.txt requirements/web.txt /requirements/
RUN python3 -m venv /venv && /venv/bin/pip install --no-cache-dir requests==2.34.2 -r /requirements/web.txt

FROM debian:12.12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends libmariadb3 python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /steadyfist steadyfist \
 && install -d -o steadyfist /var/lib/steadyfist /enrolment
COPY --from=build /venv /venv
COPY manage.py /steadyfist/
COPY sfweb /steadyfist/sfweb
COPY sftasks /steadyfist/sftasks
COPY nodeagent /steadyfist/nodeagent
COPY lab /steadyfist/lab
COPY requirements/agent.txt requirements/constraints.txt /steadyfist/requirements/
COPY deploy/join.sh deploy/packages-node.txt /steadyfist/deploy/
COPY deploy/systemd /steadyfist/deploy/systemd
WORKDIR /steadyfist
ENV PATH=/venv/bin:/usr/bin:/bin PYTHONPATH=/steadyfist PYTHONUNBUFFERED=1 LANG=C.UTF-8
USER steadyfist
EXPOSE 13000 13001 13002 5555
