"""The only importer of the Docker SDK: find or start an engine, build images, make and remove a federation, logs, reaper."""
