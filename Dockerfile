# The two commands of the README, in a fresh Debian 12:
#   docker build -t viva .
#   docker run -it -v $PWD/models:/models viva chat -m /models/MODEL
FROM debian:12-slim AS build
COPY . /viva
WORKDIR /viva
RUN sh tools/setup demo && apt-get install -y --no-install-recommends make && make install PREFIX=/opt/viva

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends libedit2 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/viva /usr/local
ENTRYPOINT ["viva"]
