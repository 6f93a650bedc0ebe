# The image of fct-scraper: one static binary on nothing, without root, for a read-only root file system.
#
# Nothing is compiled here, so that no registry is needed: scripts/images.sh fills the build context with the binary, the
# CA roots of the machine that it is built on, and an empty folder for the volume.
FROM scratch
COPY fct-scraper /fct-scraper
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# A named volume takes the owner of the folder that it is mounted over: the reporter writes there without being root.
COPY --chown=65532:65532 empty /output
# The same for the NATS servers' volumes, which compose.yaml mounts here first.
COPY --chown=65532:65532 empty /store/1
COPY --chown=65532:65532 empty /store/2
COPY --chown=65532:65532 empty /store/3
USER 65532:65532
WORKDIR /output
ENTRYPOINT ["/fct-scraper"]
CMD ["serve"]
