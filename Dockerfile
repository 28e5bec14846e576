# The voice server; PyTorch brings its own CUDA libraries, so one image serves GPUs and CPUs.
FROM python:3.11-slim

WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# The packages come first: a change of our own code does not install them again.
COPY pyproject.toml requirements.lock scripts/dependencies.py ./
RUN python dependencies.py demo crepe swift praat > dependencies.txt \
    && pip install --use-pep517 --constraint requirements.lock --requirement dependencies.txt \
    && rm dependencies.py dependencies.txt

COPY . .

# The demo voice is built here; a new named volume begins with the image's files.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp voice \
    && mkdir -p models outputs/tmp \
    && python -m demo_voice --models models \
    && chown -R voice models outputs
USER 10001

# /tmp is small and in memory where the root is read-only: uploads go to the outputs volume.
ENV BIND_HOST=0.0.0.0 \
    HOME=/tmp \
    TMPDIR=/app/outputs/tmp \
    NUMBA_CACHE_DIR=/tmp/numba \
    NO_PROXY=localhost,127.0.0.1 \
    no_proxy=localhost,127.0.0.1
VOLUME ["/app/models", "/app/outputs"]
EXPOSE 7860 7861
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7861/health', timeout=4)"]
CMD ["python", "main.py"]
