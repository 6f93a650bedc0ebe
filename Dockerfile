# The image of fct-scraper: one static binary on an empty image, without root, for a read-only root file system.
#
# Nothing is compiled here, so no registry is needed. scripts/images.sh fills the build context with the binary, the CA
# certificates of the build machine, and an empty folder for the volume.
FROM scratch
COPY fct-scraper /fct-scraper
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# A new volume gets the owner of the folder that it is mounted over, so the reporter can write to it without root.
COPY --chown=65532:65532 empty /output
# The same for the volumes of the NATS servers, which compose.yaml mounts here first.
COPY --chown=65532:65532 empty /store/1
COPY --chown=65532:65532 empty /store/2
COPY --chown=65532:65532 empty /store/3
USER 65532:65532
WORKDIR /output
ENTRYPOINT ["/fct-scraper"]
CMD ["serve"]
