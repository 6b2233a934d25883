# bioplaus with all that its boards need; `docker compose run test` passes its tests.
FROM python:3.12-slim

# steps are compiled where there is a compiler
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

WORKDIR /bioplaus
COPY . .
RUN pip install --no-cache-dir -e ".[data,report,tune]"

# records are kept outside the image
WORKDIR /records
VOLUME /records
ENTRYPOINT ["bioplaus"]
CMD ["run", "--rule", "gaitprop"]
