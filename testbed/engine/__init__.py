"""The only importer of the Docker SDK: find or start an engine, build images, raise and raze a federation, logs, reaper."""
