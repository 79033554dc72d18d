"""Where the files of a repository lie: a folder, an object store, a REST server."""
