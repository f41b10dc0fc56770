# Gateway and operator: one image, two modules.
#
#     docker build -t anypod .
#     docker run anypod anypod_gateway --help
#
# What pip needs to reach its index comes as secrets, which no layer keeps: see docs/images.md.
ARG PYTHON_IMAGE=python:3.13-slim

# pip, and beside it the venv that the image gets.
FROM ${PYTHON_IMAGE} AS build
USER 0
RUN ["python3", "-m", "venv", "/build"]
RUN ["python3", "-m", "venv", "--without-pip", "/opt/anypod"]
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt \
    --mount=type=cache,target=/root/.cache/pip \
    ["/build/bin/pip", "install", "--upgrade", "pip"]
WORKDIR /source
ENV PIP_CONSTRAINT=/source/constraints.txt PIP_PYTHON=/opt/anypod/bin/python

# The project's wheel. worker_image/Dockerfile begins with the same stages, so a builder's cache
# has it for both images.
FROM build AS wheel
COPY . .
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt \
    --mount=type=cache,target=/root/.cache/pip \
    ["/build/bin/pip", "wheel", "--no-deps", "--wheel-dir", "/wheels", "."]

# What it needs: a layer that changes only when that does.
FROM build AS dependencies
COPY pyproject.toml constraints.txt README.md ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt \
    --mount=type=cache,target=/root/.cache/pip \
    /build/bin/pip install --no-compile ".[gateway,operator]" && /build/bin/pip uninstall --yes anypod
# Bytecode that is never compared with its source: a builder may set other times on files, and at run time nothing
# could write it anew.
RUN ["/opt/anypod/bin/python", "-m", "compileall", "-qf", "--invalidation-mode", "unchecked-hash", "/opt/anypod/lib"]

# Only what the wheel itself brings, at the places where the image has it.
FROM dependencies AS application
COPY --from=wheel /wheels /wheels
RUN ["/build/bin/pip", "install", "--no-compile", "--no-deps", "--no-index", "--find-links", "/wheels", \
     "--root", "/staged", "anypod"]
RUN ["/opt/anypod/bin/python", "-m", "compileall", "-qf", "--invalidation-mode", "unchecked-hash", \
     "-s", "/staged", "-p", "/", "/staged/opt/anypod/lib"]

FROM ${PYTHON_IMAGE}
USER 0
# Some base images have no bytecode of Python's own modules; where it is there, this changes nothing.
RUN ["python3", "-c", "import compileall, re, sysconfig; compileall.compile_dir(sysconfig.get_path('stdlib'), \
     quiet=2, rx=re.compile('/(site-packages|dist-packages|tests?|idlelib|lib2to3)/'))"]
COPY --from=dependencies /opt/anypod /opt/anypod
COPY --from=application /staged /
ENV PATH=/opt/anypod/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER 65532:65532
EXPOSE 8700
# -P: no folder that somebody may write to comes before what is installed.
ENTRYPOINT ["python", "-P", "-m"]
CMD ["anypod_gateway", "--help"]
ARG PYTHON_IMAGE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="anypod" \
      org.opencontainers.image.description="AnyPod's gateway (anypod_gateway) and operator (anypod_operator)" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
